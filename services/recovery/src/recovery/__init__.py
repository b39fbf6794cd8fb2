"""Runs escalating action chains against failures and verifies each step."""

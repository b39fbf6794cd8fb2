"""Drivers: one module a technology."""

"""The yaoki command."""

"""The host agent, on real servers and in virtual time."""

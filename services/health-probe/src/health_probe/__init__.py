"""Probes targets, says when they fail and when they are well again; guards a database as its host agent."""

"""Arming the fault points that production code passes through; see `yaoki.faults`."""

from yaoki.faults import armed, kill_on_pass, point

__all__ = ["armed", "kill_on_pass", "point"]

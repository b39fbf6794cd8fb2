"""Histories of durable runs in virtual time: processes that die, messages that are lost, late or doubled.

The executors, the workers' tables and all decisions are the production code's own. What is simulated is what lies
between processes, in memory, with every choice drawn from one seed: the same seed gives the same history.
"""

from yaoki.testing.simulation.checker import check, standing
from yaoki.testing.simulation.history import History, NothingHappenedError, play
from yaoki.testing.simulation.hosts import Effect, Host
from yaoki.testing.simulation.network import CALM, Network, Weather
from yaoki.testing.simulation.process import Crash, CrashPoint, Process
from yaoki.testing.simulation.virtual_time import StuckError, VirtualClock, run_virtually
from yaoki.testing.simulation.world import World

__all__ = [
    "CALM",
    "Crash",
    "CrashPoint",
    "Effect",
    "History",
    "Host",
    "Network",
    "NothingHappenedError",
    "Process",
    "StuckError",
    "VirtualClock",
    "Weather",
    "World",
    "check",
    "play",
    "run_virtually",
    "standing",
]

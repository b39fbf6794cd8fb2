"""Logs, traces and metrics that carry the same identities."""

from yaoki.telemetry.logs import bound, get_logger
from yaoki.telemetry.metrics import FAST_SECONDS, SLOW_SECONDS, exposition
from yaoki.telemetry.setup import Telemetry, setup_telemetry

__all__ = [
    "FAST_SECONDS",
    "SLOW_SECONDS",
    "Telemetry",
    "bound",
    "exposition",
    "get_logger",
    "setup_telemetry",
]

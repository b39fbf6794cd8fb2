"""Metrics of the recovery service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from yaoki.telemetry.metrics import SLOW_SECONDS

FAILURES = Counter("yaoki_recovery_failures", "Failures received, by what they started.", ["failure_type", "decision"])
WAITING = Gauge("yaoki_recovery_failures_waiting", "Failures that wait for the end of a run on the same servers.")
RUNS = Counter("yaoki_recovery_runs", "Recovery runs that ended, by ending.", ["failure_type", "ending"])
RUN_SECONDS = Histogram(
    "yaoki_recovery_run_seconds",
    "From the start of a recovery run to its end, seconds.",
    ["failure_type"],
    buckets=SLOW_SECONDS,
)
ESCALATIONS = Counter(
    "yaoki_recovery_escalations", "Failures handed to people without a chain to run.", ["failure_type"]
)
HELD = Counter("yaoki_recovery_held", "Automatic runs that a guard kept waiting, by guard.", ["guard"])
BRAKE = Gauge("yaoki_recovery_brake", "1 while so many targets have failed at once that automation stands still.")
OPEN = Gauge("yaoki_recovery_open_failures", "Failures that were taken up and are not cleared.")
AUDITED = Counter("yaoki_recovery_audited", "Open failures that were found without a next step.", ["found"])

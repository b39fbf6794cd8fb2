"""Metrics of the slo role."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from yaoki.telemetry import SLOW_SECONDS

WRITER = Gauge("yaoki_slo_writer", "1 while this instance keeps the ledger.")
MINUTES = Counter("yaoki_slo_minutes_decided_total", "Minutes of targets that were written into the ledger.")
ROUND_SECONDS = Histogram(
    "yaoki_slo_round_seconds", "Duration of a round of the ledger's writer.", buckets=SLOW_SECONDS
)
ROUNDS_FAILED = Counter("yaoki_slo_rounds_failed_total", "Rounds that NATS or another writer interrupted.")
BEHIND_SECONDS = Gauge("yaoki_slo_behind_seconds", "Age of the newest minute that is decided for every target.")

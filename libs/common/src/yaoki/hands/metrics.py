"""Metrics of every hand."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from yaoki.telemetry.metrics import SLOW_SECONDS

ORDERS = Counter(
    "yaoki_hand_orders",
    "Orders to hands, by outcome: done, already (it had happened), looked (dry run), skipped, refused, failed.",
    ["hand", "outcome"],
)
SECONDS = Histogram("yaoki_hand_seconds", "Time to carry an order out, seconds.", ["hand"], buckets=SLOW_SECONDS)

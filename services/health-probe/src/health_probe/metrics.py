"""Metrics of the health probe."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from yaoki.telemetry import FAST_SECONDS

RESULTS = Counter("yaoki_probe_results_total", "Results of scheduled probes.", ["kind", "status", "error_class"])
RESPONSE_SECONDS = Histogram(
    "yaoki_probe_response_seconds", "Duration of scheduled probes.", ["kind"], buckets=FAST_SECONDS
)
LATE_SECONDS = Histogram("yaoki_probe_late_seconds", "How long after its time a probe began.", buckets=FAST_SECONDS)
TARGETS = Gauge("yaoki_probe_targets", "Targets of this prober by the state of its view.", ["state"])
EVENTS_WAITING = Gauge("yaoki_probe_events_waiting", "Events that NATS has not stored yet.")
LOOP_LAG_SECONDS = Histogram(
    "yaoki_probe_loop_lag_seconds",
    "How long after its time the event loop came to look at itself.",
    buckets=FAST_SECONDS,
)
IMPAIRED = Gauge("yaoki_probe_impaired", "1 while the prober is not well itself and gives no verdicts.", ["sign"])
WITHHELD = Counter("yaoki_probe_withheld_total", "Results that were not believed.", ["sign"])
PROBERS = Gauge("yaoki_probe_members", "Probers alive, of all vantages, as this one sees them.")
OWNED = Gauge("yaoki_probe_owned_targets", "Targets that this prober watches.")
PRESIDED = Gauge("yaoki_probe_judged_targets", "Targets whose verdict this prober tells.")
TAKEN_OVER = Counter("yaoki_probe_taken_over_total", "Targets that this prober took over from another.")
EVENTS = Counter("yaoki_probe_events_total", "Events that this prober told.", ["event"])

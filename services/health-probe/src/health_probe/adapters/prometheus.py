"""Counts for Prometheus what the reporter sees."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from health_probe import metrics
from health_probe.hysteresis import Health

if TYPE_CHECKING:
    from health_probe.records import HealthRecord

_MILLISECONDS = 1000.0


class PrometheusGauges:
    """See `reporter.Gauges`."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def took_result(self, record: HealthRecord) -> None:
        """See `Gauges.took_result`."""
        result = record.last
        metrics.RESULTS.labels(record.kind, result.status, result.error_class or "none").inc()
        metrics.RESPONSE_SECONDS.labels(record.kind).observe(result.response_ms / _MILLISECONDS)
        before = self._states.get(record.target)
        if before != record.state:
            # Counted by change: to count all targets at each result takes a third of a core with 10,000 of them.
            self._states[record.target] = record.state
            metrics.TARGETS.labels(record.state).inc()
            if before is not None:
                metrics.TARGETS.labels(before).dec()

    def ran_late(self, target: str, seconds: float) -> None:  # noqa: ARG002 - a target is no label
        """See `Gauges.ran_late`."""
        metrics.LATE_SECONDS.observe(seconds)

    def waiting(self, events: int) -> None:
        """See `Gauges.waiting`."""
        metrics.EVENTS_WAITING.set(events)

    def told(self, event: str) -> None:
        """See `Gauges.told`."""
        metrics.EVENTS.labels(event).inc()

    def ownership(self, *, members: int, owned: frozenset[str], presided: int) -> None:
        """See `Counts.ownership`."""
        self._states = {target: state for target, state in self._states.items() if target in owned}
        counts = Counter(self._states.values())
        for state in Health:
            metrics.TARGETS.labels(state).set(counts[state])
        metrics.PROBERS.set(members)
        metrics.OWNED.set(len(owned))
        metrics.PRESIDED.set(presided)

    def taken_over(self, targets: int) -> None:
        """See `Counts.taken_over`."""
        metrics.TAKEN_OVER.inc(targets)


class PrometheusWithheld:
    """See `gate.WithheldCounter`."""

    def withheld(self, sign: str) -> None:
        """See `WithheldCounter.withheld`."""
        metrics.WITHHELD.labels(sign).inc()

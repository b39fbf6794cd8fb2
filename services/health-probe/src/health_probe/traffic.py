"""Error rate and response time over a window, from what applications report of themselves. Pure.

Reports add up over the processes of an application. The window is covered by the periods of its reports together: a
process that reports does not speak for another that is silent, but it speaks for the application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.latency import merged, quantile
from yaoki.live import RequestsObserved  # noqa: TC002 - msgspec reads the annotation at run time

from health_probe.windows import COVERAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

_PERCENTILE: Final = 0.95
_MOST_REPORTS: Final = 20_000
"""For each application; a thousand processes that report every ten seconds need six times as many in 30 minutes."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was reported, and when it was heard: seconds on the prober's monotonic clock."""

    heard_at: float
    observed: RequestsObserved


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """An application's requests within a window.

    Attributes:
        reports: How many went into it.
        mean_ms: None without requests.
        p95_ms: Not too low, and at most 20 % too high; None without requests.
        covered_s: Seconds of the window of which there are reports.
        length_s: Of the window.
    """

    reports: int
    requests: int
    errors: int
    mean_ms: float | None
    p95_ms: float | None
    covered_s: float
    length_s: float

    @property
    def error_rate(self) -> float:
        """Share of the requests that failed, 0 to 1; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def complete(self) -> bool:
        """Whether enough of the window is covered to raise a failure."""
        return self.covered_s >= COVERAGE * self.length_s


def summarise(reports: Iterable[Report], *, now: float, length_s: float) -> Traffic:
    """The traffic of the window that ends `now`: all reports heard within it."""
    within = [report for report in reports if now - length_s < report.heard_at <= now]
    observed = [report.observed for report in within]
    requests = sum(one.requests for one in observed)
    return Traffic(
        reports=len(observed),
        requests=requests,
        # A report that contradicts itself must not make a rate above one.
        errors=min(sum(one.errors for one in observed), requests),
        mean_ms=sum(one.total_ms for one in observed) / requests if requests else None,
        p95_ms=quantile(merged(one.buckets for one in observed), _PERCENTILE),
        covered_s=_covered(within, now - length_s),
        length_s=length_s,
    )


def _covered(reports: Iterable[Report], begin: float) -> float:
    """Length of the union of the reports' periods, from `begin` on."""
    covered, known_until = 0.0, begin
    for start, end in sorted((one.heard_at - one.observed.period_s, one.heard_at) for one in reports):
        covered += max(0.0, end - max(start, known_until))
        known_until = max(known_until, end)
    return covered


class TrafficBook:
    """The newest reports of the applications that some target asks for; in memory."""

    def __init__(self) -> None:
        self._lengths: dict[str, float] = {}
        self._reports: dict[str, list[Report]] = {}

    def expect(self, application: str, length_s: float) -> None:
        """From now on keep the reports of `application` for at least `length_s`."""
        self._lengths[application] = max(length_s, self._lengths.get(application, 0.0))

    def take(self, application: str, report: Report) -> None:
        """Remember a report, unless nobody asks for it."""
        length_s = self._lengths.get(application)
        if length_s is None:
            return
        oldest = report.heard_at - length_s
        kept = [known for known in self._reports.get(application, ()) if known.heard_at > oldest]
        self._reports[application] = [*kept, report][-_MOST_REPORTS:]

    def within(self, application: str, *, now: float, length_s: float) -> Traffic:
        """What `application` reported in the window that ends `now`."""
        return summarise(self._reports.get(application, ()), now=now, length_s=length_s)

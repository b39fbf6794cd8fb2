"""A number that must stay on one side of a limit: from a Prometheus query, or from what applications report.

Where the number comes from is not the target. When Prometheus is away or nobody reports there is no verdict: a
recovery that restarts the application because its metrics server is down would make an outage of a blind spot.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from typing_extensions import override
from yaoki.clock import Clock
from yaoki.config import Secret, Target, format_duration
from yaoki.config.findings import Context
from yaoki.config.findings import Finding as Mistake
from yaoki.config.forms import AbsolutePath, HttpUrl, Name, PositiveDuration
from yaoki.events.probe import ErrorClass, FailureType

from health_probe.adapters.network import Network
from health_probe.adapters.prometheus_query import query
from health_probe.attempt import Facts, Finding, Phases, ProbeFailedError, failure_of
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.probes.tls import trusting
from health_probe.targets import Component
from health_probe.traffic import Traffic, TrafficBook


class Measure(StrEnum):
    """What is looked at of an application's reports."""

    ERROR_RATE = "error_rate"
    RESPONSE_TIME = "response_time"


class Comparison(StrEnum):
    """On which side of the limit the failure lies."""

    ABOVE = "above"
    BELOW = "below"


DEFAULT_LIMITS: Final = {Measure.ERROR_RATE: 0.10, Measure.RESPONSE_TIME: 2000.0}
"""Share of the requests, and mean in milliseconds."""


class MetricTarget(Target, frozen=True, kw_only=True, tag="metric"):
    """A Prometheus query (`prometheus` with `query`), or the reports of an `application` that uses Yaoki's SDK.

    Attributes:
        prometheus: Where Prometheus answers.
        query: An instant query; of several series the worst counts, and without any there is no verdict.
        comparison: A value on this side of the limit is a failure.
        token: Sent to Prometheus as a bearer token.
        ca_file: Authorities to trust (PEM); the system's when left out.
        application: Whose reports are read.
        measure: `error_rate` (share of failed requests) or `response_time` (mean, ms); it also names
            the failure.
        window: Of the reports.
        min_requests: With fewer requests in the window nothing is a failure.
        limit: Left out: an error rate of 0.10, a response time of 2000 ms.
        unhealthy_after: Failures in a row that make it failed; one, because the window has waited already.
    """

    failures = frozenset({FailureType.ERROR_RATE, FailureType.RESPONSE_TIME})

    prometheus: HttpUrl | None = None
    query: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    comparison: Comparison = Comparison.ABOVE
    token: Secret | None = None
    ca_file: AbsolutePath | None = None
    application: Name | None = None
    measure: Measure = Measure.ERROR_RATE
    window: PositiveDuration = 300.0
    min_requests: Annotated[int, msgspec.Meta(ge=1)] = 20
    limit: float | None = None
    unhealthy_after: Annotated[int, msgspec.Meta(ge=1)] | None = 1

    @property
    def threshold(self) -> float:
        """The limit in force."""
        return DEFAULT_LIMITS[self.measure] if self.limit is None else self.limit

    @override
    def mistakes(self, path: str, context: Context) -> Iterator[Mistake]:
        """See `Target.mistakes`."""
        if (self.prometheus is None) == (self.application is None):
            found = "neither prometheus nor application" if self.prometheus is None else "both of them"
            also = (f"{path}.prometheus", f"{path}.application")
            yield Mistake(path=path, found=found, expected="either prometheus or application", also=also)
        if (self.prometheus is None) != (self.query is None):
            missing = "query" if self.query is None else "prometheus"
            yield Mistake(path=f"{path}.{missing}", found="nothing", expected="prometheus and query together")
        if self.application is not None and self.comparison is Comparison.BELOW:
            yield Mistake(path=f"{path}.comparison", found="below", expected="above, for an application's reports")
        if self.application is not None and self.agent is not None:
            hint = "probers hear what applications report"
            yield Mistake(path=f"{path}.agent", found=self.agent, expected="nothing beside application", hint=hint)


class QueryCheck:
    """See `Check`: a Prometheus query."""

    def __init__(self, *, network: Network, target: MetricTarget, token: str | None) -> None:
        self._network = network
        self._target = target
        self._token = token

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: value, series."""
        try:
            values = await self._values(phases)
        except (ProbeFailedError, OSError, EOFError) as exc:
            sentence = f"Prometheus cannot be asked: {failure_of(exc).detail}"
            raise ProbeFailedError(ErrorClass.LOCAL, sentence) from exc
        phases.name = "verdict"
        return judge_values(values, comparison=self._target.comparison, limit=self._target.threshold)

    async def _values(self, phases: Phases) -> list[float]:
        url, text = self._target.prometheus or "", self._target.query or ""
        tls = trusting(self._target.ca_file) if url.startswith("https:") else None
        return await query(self._network, phases, url, text, token=self._token, tls=tls)


def judge_values(values: list[float], *, comparison: Comparison, limit: float) -> Finding:
    """Decide what the worst of some values says.

    Raises:
        ProbeFailedError: Class `capacity`: on the wrong side of the limit; `local`: there is no value.
    """
    if not values:
        raise ProbeFailedError(ErrorClass.LOCAL, "the query answers no number: there is no such series now")
    above = comparison is Comparison.ABOVE
    worst = max(values) if above else min(values)
    facts: Facts = {"value": worst, "series": len(values)}
    if worst > limit if above else worst < limit:
        raise ProbeFailedError(ErrorClass.CAPACITY, f"the value {worst:g} is {comparison} the limit {limit:g}", facts)
    return Finding(facts=facts)


class TrafficCheck:
    """See `Check`: the reports of an application."""

    def __init__(self, *, book: TrafficBook, target: MetricTarget, clock: Clock) -> None:
        self._book = book
        self._target = target
        self._application = target.application or ""
        self._clock = clock

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: requests, errors, error_rate, mean_ms, p95_ms, covered_s."""
        phases.name = "verdict"
        now = self._clock.monotonic()
        traffic = self._book.within(self._application, now=now, length_s=self._target.window)
        return judge_traffic(traffic, self._target)


def judge_traffic(traffic: Traffic, target: MetricTarget) -> Finding:
    """Decide what an application's requests say.

    Raises:
        ProbeFailedError: Class `capacity`: above the limit; `local`, which is no verdict: nobody reports, or what is
            above the limit covers too little of the window.
    """
    facts: Facts = {
        "requests": traffic.requests,
        "errors": traffic.errors,
        "error_rate": round(traffic.error_rate, 4),
        "mean_ms": traffic.mean_ms and round(traffic.mean_ms, 2),
        "p95_ms": traffic.p95_ms and round(traffic.p95_ms, 1),
        "covered_s": round(traffic.covered_s, 1),
    }
    window = format_duration(traffic.length_s)
    if not traffic.reports:
        raise ProbeFailedError(ErrorClass.LOCAL, f"{target.application} has reported nothing for {window}", facts)
    value = traffic.error_rate if target.measure is Measure.ERROR_RATE else traffic.mean_ms or 0.0
    if traffic.requests < target.min_requests or value <= target.threshold:
        return Finding(facts=facts)
    sentence = f"{_amount(target.measure, value)} over {window}, at most {_amount(target.measure, target.threshold)}"
    if not traffic.complete:
        raise ProbeFailedError(ErrorClass.LOCAL, f"{sentence}; only {traffic.covered_s:.0f} s are known yet", facts)
    raise ProbeFailedError(ErrorClass.CAPACITY, sentence, facts)


def _amount(measure: Measure, value: float) -> str:
    return f"error rate {value:.1%}" if measure is Measure.ERROR_RATE else f"mean response time {value:.0f} ms"


def _build(_name: str, target: MetricTarget, surroundings: Surroundings) -> Check:
    if target.application is None:
        token = target.token.reveal() if target.token else None
        return QueryCheck(network=surroundings.network, target=target, token=token)
    surroundings.traffic.expect(target.application, target.window)
    return TrafficCheck(book=surroundings.traffic, target=target, clock=surroundings.clock)


def _failure_type(target: MetricTarget) -> FailureType:
    return FailureType(target.measure)


def _hears(target: MetricTarget) -> str:
    return f"what {target.application} reports of its requests" if target.application else ""


KIND = ProbeKind(
    target=MetricTarget,
    component=Component.SERVICES,
    build=_build,
    failure_type=_failure_type,
    hears=_hears,
    remembers=True,
)

"""A target that is not asked but checks in by itself, e.g. a job that runs now and then."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

import msgspec
from typing_extensions import override
from yaoki.clock import Clock
from yaoki.config import Secret, Target, format_duration
from yaoki.config.findings import Context
from yaoki.config.findings import Finding as Mistake
from yaoki.config.forms import Duration, PositiveDuration
from yaoki.events.probe import ErrorClass, FailureType

from health_probe.attempt import Facts, Finding, Phases, ProbeFailedError
from health_probe.heartbeats import Expectation, HeartbeatBook, Standing
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.targets import Component


class HeartbeatTarget(Target, frozen=True, kw_only=True, tag="heartbeat"):
    """Checks in: over HTTP, by a NATS request, or by a NATS message that nobody acknowledges.

    `POST /heartbeat/<target>`, `nats req yaoki.api.probe.check-in '{"target": "..."}'`, or
    `nats pub yaoki.live.check-in.<target> ""`. The first two are acknowledged: repeat them until they are.

    Attributes:
        every: At most this long between two check-ins.
        grace: And this much more until it is missed.
        token: What a check-in has to bring.
        unhealthy_after: Failures in a row that make it failed; one, because `grace` has waited already.
    """

    failures = frozenset({FailureType.HEARTBEAT_MISSED})

    every: PositiveDuration
    grace: Duration = 0.0
    token: Secret | None = None
    unhealthy_after: Annotated[int, msgspec.Meta(ge=1)] | None = 1

    @override
    def mistakes(self, path: str, context: Context) -> Iterator[Mistake]:
        """See `Target.mistakes`."""
        if self.agent is not None:
            yield Mistake(path=f"{path}.agent", found=self.agent, expected="nothing", hint="probers hear check-ins")


class HeartbeatCheck:
    """See `Check`; reads what has been heard."""

    def __init__(self, *, name: str, book: HeartbeatBook, patience: timedelta, clock: Clock) -> None:
        self._name = name
        self._book = book
        self._patience = patience
        self._clock = clock

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: last_check_in, silent_s."""
        phases.name = "verdict"
        now = self._clock.now()
        last = self._book.last(self._name)
        facts: Facts = {
            "last_check_in": last.isoformat() if last else None,
            "silent_s": round((now - last).total_seconds(), 1) if last else None,
        }
        allowed = format_duration(self._patience.total_seconds())
        match self._book.standing(self._name, now):
            case Standing.PRESENT:
                return Finding(facts=facts)
            case Standing.MISSED:
                sentence = f"no check-in for {facts['silent_s']} s, at most {allowed} allowed"
                raise ProbeFailedError(ErrorClass.TIMEOUT, sentence, facts)
            case Standing.UNCERTAIN:
                sentence = "it may have checked in while no prober listened; it gets one more period"
                raise ProbeFailedError(ErrorClass.LOCAL, sentence, facts)
            case Standing.UNHEARD:
                sentence = "this prober does not hear check-ins now: it is cut off from NATS, or has just started"
                raise ProbeFailedError(ErrorClass.LOCAL, sentence, facts)


def _build(name: str, target: HeartbeatTarget, surroundings: Surroundings) -> Check:
    every, grace = timedelta(seconds=target.every), timedelta(seconds=target.grace)
    expectation = Expectation(every=every, grace=grace, token=target.token)
    surroundings.heartbeats.expect(name, expectation)
    return HeartbeatCheck(
        name=name, book=surroundings.heartbeats, patience=expectation.patience, clock=surroundings.clock
    )


def _failure_type(_target: HeartbeatTarget) -> FailureType:
    return FailureType.HEARTBEAT_MISSED


def _hears(_target: HeartbeatTarget) -> str:
    return "its check-ins"


KIND = ProbeKind(
    target=HeartbeatTarget, component=Component.SERVICES, build=_build, failure_type=_failure_type, hears=_hears
)

"""Makes a `Probe` of a `Check`: the time it took, the phase it stopped in, a typed reason."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from yaoki.events.probe import ErrorClass, ProbeResult, ProbeStatus

from health_probe.attempt import Deadline, Finding, Phases, ProbeFailedError, failure_of

if TYPE_CHECKING:
    from yaoki.clock import Clock

    from health_probe.ports import Check

_MILLISECONDS: Final = 1000.0


class MeasuredProbe:
    """See `Probe`.

    Args:
        check: The work of one probe kind.
        clock: Dates the result.
    """

    def __init__(self, check: Check, clock: Clock) -> None:
        self._check = check
        self._clock = clock

    async def run(self, deadline: Deadline) -> ProbeResult:
        """See `Probe.run`."""
        started = time.perf_counter()
        phases = Phases(deadline)
        outcome: Finding | ProbeFailedError
        try:
            outcome = await self._check.check(phases)
        except Exception as exc:  # noqa: BLE001 - a defect here must become `local`, not end the prober
            outcome = failure_of(exc)
        elapsed = (time.perf_counter() - started) * _MILLISECONDS
        return self._result(outcome, phases.name, elapsed)

    def _result(self, outcome: Finding | ProbeFailedError, phase: str, elapsed_ms: float) -> ProbeResult:
        return ProbeResult(
            status=_status(outcome),
            at=self._clock.now(),
            response_ms=round(elapsed_ms, 3),
            error_class=outcome.error_class,
            detail=outcome.detail,
            phase=phase,
            facts=outcome.facts,
        )


class Elsewhere:
    """See `Probe`: of a target that cannot be looked at from here. It says so, whoever asks; it needs no secret.

    Args:
        who: Looks at it.
        clock: Dates the result.
    """

    def __init__(self, who: str, clock: Clock) -> None:
        self._who = who
        self._clock = clock

    async def run(self, deadline: Deadline) -> ProbeResult:  # noqa: ARG002 - it is over at once
        """See `Probe.run`."""
        detail = f"it is probed by {self._who} alone, who did not answer"
        return ProbeResult(
            status=ProbeStatus.UNKNOWN,
            at=self._clock.now(),
            response_ms=0.0,
            error_class=ErrorClass.LOCAL,
            detail=detail,
            phase="schedule",
        )


def _status(outcome: Finding | ProbeFailedError) -> ProbeStatus:
    if isinstance(outcome, Finding):
        return outcome.status
    return ProbeStatus.UNKNOWN if outcome.error_class is ErrorClass.LOCAL else ProbeStatus.UNHEALTHY

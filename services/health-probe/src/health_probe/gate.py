"""Keeps back what a prober that is not well itself believes to see."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from yaoki.events.probe import ErrorClass, ProbeResult, ProbeStatus

from health_probe.self_health import Sign

if TYPE_CHECKING:
    from yaoki.clock import Clock

    from health_probe.attempt import Deadline
    from health_probe.crowd import Crowd
    from health_probe.ports import Probe
    from health_probe.self_health import SelfHealth

_LEAST_LEFT_S: Final = 0.2
_RESOLVING: Final = "dns"


class OwnResolver(Protocol):
    """The resolver that this machine asks."""

    async def problem(self, within_s: float) -> str | None:
        """Why it cannot be relied on, in one sentence; None when it answers at all, if only with a refusal."""
        ...


class WithheldCounter(Protocol):
    """Counts results that were not believed."""

    def withheld(self, sign: str) -> None:
        """One more, by this sign."""
        ...


class Gate:
    """Replaces what cannot be believed by a result that says so: status `unknown`, class `local`.

    Unknown is not healthy, opens nothing and clears nothing, so a prober that is not well neither raises nor ends
    a failure, and what is really broken is found by the first probes after it is well again.
    """

    def __init__(
        self, *, health: SelfHealth, crowd: Crowd, resolver: OwnResolver, counter: WithheldCounter, clock: Clock
    ) -> None:
        self._health = health
        self._crowd = crowd
        self._resolver = resolver
        self._counter = counter
        self._clock = clock

    def guarding(self, target: str, probe: Probe) -> GatedProbe:
        """The same probe behind this gate."""
        return GatedProbe(self, target, probe, self._clock)

    async def judge(self, target: str, result: ProbeResult, *, started: float, deadline: Deadline) -> ProbeResult:
        """The result as it may be believed.

        Args:
            target: That was probed.
            result: As the probe gave it.
            started: When the probe began, on the monotonic clock.
            deadline: Of the probe; what is left of it may be used to ask for the resolver.
        """
        if _is_unresolved(result) and (problem := await self._resolver_problem(deadline)):
            return self._withhold(result, "resolver", problem)
        now = self._clock.monotonic()
        self._health.look(now, self._clock.now())
        if result.status is not ProbeStatus.UNKNOWN:
            self._crowd.result(target, now, bad=result.status is ProbeStatus.UNHEALTHY)
            self._health.note(Sign.CROWD, now, self._crowd.problem)
        sign = self._health.sign_since(started, now)
        return result if sign is None else self._withhold(result, sign, self._health.reason(sign))

    def reasons(self) -> list[str]:
        """Why this prober gives no verdicts now, one sentence each; empty when it does."""
        signs = self._health.signs(self._clock.monotonic())
        return [f"the prober is not well itself: {reason}" for reason in signs.values()]

    async def _resolver_problem(self, deadline: Deadline) -> str | None:
        left = deadline.at - asyncio.get_running_loop().time()
        return await self._resolver.problem(max(left, _LEAST_LEFT_S))

    def _withhold(self, result: ProbeResult, sign: str, reason: str) -> ProbeResult:
        self._counter.withheld(sign)
        seen = f"; it saw: {result.status}, {result.detail}" if result.detail else ""
        return msgspec.structs.replace(
            result,
            status=ProbeStatus.UNKNOWN,
            error_class=ErrorClass.LOCAL,
            detail=f"the prober is not well itself: {reason}{seen}",
        )


class GatedProbe:
    """See `Probe`: the results of another one, as far as they can be believed."""

    def __init__(self, gate: Gate, target: str, probe: Probe, clock: Clock) -> None:
        self._gate = gate
        self._target = target
        self._probe = probe
        self._clock = clock

    async def run(self, deadline: Deadline) -> ProbeResult:
        """See `Probe.run`."""
        started = self._clock.monotonic()
        result = await self._probe.run(deadline)
        return await self._gate.judge(self._target, result, started=started, deadline=deadline)


def _is_unresolved(result: ProbeResult) -> bool:
    """Whether it failed on the way to an address. A target of kind `dns` is asked in a phase of its own."""
    return result.status is ProbeStatus.UNHEALTHY and result.phase == _RESOLVING

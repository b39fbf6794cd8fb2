"""Probes every target once, without NATS and without leaving a trace: what a new user runs first.

What cannot be probed from here, because a secret is missing, because the target lives on the host of an agent, or
because only the running prober hears of it, is unknown, with the reason; everything else is probed nevertheless.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from yaoki.checkup import CheckedTarget, Checkup
from yaoki.events.probe import ErrorClass, ProbeStatus

from health_probe.attempt import Deadline
from health_probe.catalog import KINDS_BY_TARGET, monitored_target
from health_probe.check.advice import advice
from health_probe.scheduler import KILL_GRACE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yaoki.clock import Clock
    from yaoki.config import Mistake, Target

    from health_probe.kinds import Surroundings
    from health_probe.targets import MonitoredTarget

_CONCURRENCY: Final = 256


class Examiner:
    """Looks at targets.

    Args:
        surroundings: What the probes are built from.
        clock: Dates results.
        unresolved: Secrets that are not there.
        agent: Look only at what is probed by this agent; None looks at everything, and probes what no agent does.
    """

    def __init__(
        self, surroundings: Surroundings, clock: Clock, *, unresolved: Sequence[Mistake] = (), agent: str | None = None
    ) -> None:
        self._surroundings = surroundings
        self._clock = clock
        self._unresolved = unresolved
        self._agent = agent
        self._slots = asyncio.Semaphore(_CONCURRENCY)

    async def checkup(self) -> Checkup:
        """All of them, concurrently; takes as long as the longest timeout among them."""
        targets = self._surroundings.config.targets
        mine = {name: one for name, one in targets.items() if self._agent in (None, one.agent)}
        checked = await asyncio.gather(*(self._look(name, target) for name, target in mine.items()))
        missing = [one.path for one in self._unresolved if _owner(one) in mine]
        return Checkup(targets=tuple(checked), missing_secrets=tuple(missing))

    async def _look(self, name: str, target: Target) -> CheckedTarget:
        obstacle = self._missing_secret(name) or self._elsewhere(target) or self._unheard(name, target)
        if obstacle is not None:
            wrong, todo = obstacle
            return CheckedTarget(
                target=name,
                kind=target.kind,
                scope=target.scope.value,
                status=ProbeStatus.UNKNOWN,
                error_class=ErrorClass.LOCAL,
                wrong=wrong,
                next=todo,
            )
        async with self._slots:
            return await self._probe(name, target)

    async def _probe(self, name: str, target: Target) -> CheckedTarget:
        monitored = monitored_target(name, self._surroundings, self._clock)
        run = asyncio.create_task(monitored.probe.run(Deadline.after(monitored.timeout_s)), name=f"check {name}")
        await asyncio.wait({run}, timeout=monitored.timeout_s + KILL_GRACE_S)
        if not run.done():
            run.cancel()
            return self._stuck(name, target, monitored)
        result = run.result()
        return CheckedTarget(
            target=name,
            kind=target.kind,
            scope=target.scope.value,
            status=result.status,
            response_ms=result.response_ms,
            error_class=result.error_class,
            phase=result.phase,
            wrong=result.detail,
            next=advice(target.kind, name, result.error_class),
        )

    def _stuck(self, name: str, target: Target, monitored: MonitoredTarget) -> CheckedTarget:
        return CheckedTarget(
            target=name,
            kind=target.kind,
            scope=target.scope.value,
            status=ProbeStatus.UNKNOWN,
            error_class=ErrorClass.LOCAL,
            wrong=f"the probe did not end {KILL_GRACE_S:g} s after its deadline of {monitored.timeout_s:g} s",
            next=advice(target.kind, name, ErrorClass.LOCAL),
        )

    def _missing_secret(self, name: str) -> tuple[str, str] | None:
        missing = [one for one in self._unresolved if _owner(one) == name]
        if not missing:
            return None
        wrong = "; ".join(f"{one.path} is {one.found} and leads to no secret" for one in missing)
        return f"not probed: {wrong}", "; ".join(f"expected {one.expected}" for one in missing)

    def _elsewhere(self, target: Target) -> tuple[str, str] | None:
        if target.agent is None or target.agent == self._agent:
            return None
        return (
            f"not probed: it is probed on the host of agent {target.agent}",
            f"run there: yaoki check --agent {target.agent}",
        )

    def _unheard(self, name: str, target: Target) -> tuple[str, str] | None:
        heard = KINDS_BY_TARGET[type(target)].hears(target)
        if not heard:
            return None
        prefix = self._surroundings.config.nats.prefix
        ask = f"""nats req {prefix}.api.probe.check '{{"target": "{name}"}}'"""
        return f"not probed: only a running prober hears {heard}, over NATS", f"start the prober, then ask it: {ask}"


def _owner(mistake: Mistake) -> str | None:
    """The target that a path such as `targets.orders-db.password` belongs to."""
    section, _, rest = mistake.path.partition(".")
    return rest.partition(".")[0] if section == "targets" else None

"""Runs every target's probe at its own fixed rate; nothing that one target does delays another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from yaoki.events.probe import ErrorClass, ProbeResult, ProbeStatus
from yaoki.tasks import EndingGroup

from health_probe.attempt import Deadline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from yaoki.clock import Clock

    from health_probe.ports import Probe

KILL_GRACE_S: Final = 0.5
"""A probe keeps its own deadline; one that is not back this long after it is killed."""

HURRY_GAP_S: Final = 1.0
"""A target that was probed within this time is not hurried: many may ask for the same one."""

DEFAULT_CONCURRENCY: Final = 512
"""So many targets may hang for their whole timeout in every suspect interval before others of their kind run late, and
half of the files that a process may usually open."""


class Observer(Protocol):
    """Takes in what the scheduler sees. Synchronous: it must not wait for anything."""

    def observe(self, target: str, result: ProbeResult) -> float:
        """Take a result in; return the seconds until the next probe of this target."""
        ...

    def ran_late(self, target: str, seconds: float) -> None:
        """A probe began this long after its time."""
        ...


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One target to probe.

    Attributes:
        group: Jobs of one group share a limit of concurrent runs.
        interval_s: Within which the first probe happens.
        timeout_s: Deadline of one run.
        jitter: Share of the interval by which each wait is at most shorter, so that targets do not march in step.
            Never longer: the interval is what people reckon with when they ask how soon a failure is found.
    """

    target: str
    group: str
    probe: Probe
    interval_s: float
    timeout_s: float
    jitter: float = 0.1


class Scheduler:
    """Fixed rate: a run is due an interval after the one before was, never after that was done.

    A target has at most one run at a time. A run that has not ended `KILL_GRACE_S` after its deadline is
    cancelled and reported as the prober's fault; a run that even ignores that is left behind, and its target
    reports `local` until it is gone.

    Args:
        clock: Times runs and deadlines.
        random: Spreads first probes over their interval, and jitter.
        concurrency: Runs at a time in one group; more wait for their turn and count as late.
    """

    def __init__(
        self, *, clock: Clock, random: Random, observer: Observer, concurrency: int = DEFAULT_CONCURRENCY
    ) -> None:
        self._clock = clock
        self._random = random
        self._observer = observer
        self._concurrency = concurrency
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._stuck: dict[str, asyncio.Task[ProbeResult]] = {}
        self._pauses: dict[str, asyncio.Future[None]] = {}
        self._began: dict[str, float] = {}

    def hurry(self, target: str) -> None:
        """Probe a target at once that waits for its next beat; its beats are then counted from now.

        Nothing happens to one that is not watched, is being probed, or was within `HURRY_GAP_S`.
        """
        pause = self._pauses.get(target)
        if pause is not None and self._clock.monotonic() - self._began.get(target, float("-inf")) >= HURRY_GAP_S:
            pause.cancel()

    async def run(self, jobs: Sequence[Job]) -> None:
        """Probe for ever; cancel to stop."""
        if len(jobs) == 1:
            await self._beat(jobs[0])
        async with EndingGroup() as group:
            for job in jobs:
                group.create_task(self._beat(job), name=f"probe {job.target}")

    async def _beat(self, job: Job) -> None:
        due = self._clock.monotonic() + self._random.random() * job.interval_s
        while True:
            if await self._hurried(job.target, due):
                due = self._clock.monotonic()
            self._began[job.target] = self._clock.monotonic()
            result = await self._take_turn(job, due)
            interval = self._observer.observe(job.target, result)
            # What became due while a probe took its time is done once, at once, and not made up for.
            due = max(due + interval * (1.0 - job.jitter * self._random.random()), self._clock.monotonic())

    async def _hurried(self, target: str, due: float) -> bool:
        """Wait until `due`, or until the target is hurried; says whether it was."""
        pause = asyncio.ensure_future(self._sleep_until(due))
        self._pauses[target] = pause
        try:
            await asyncio.wait({pause})
        finally:
            pause.cancel()
            del self._pauses[target]
        return pause.cancelled()

    async def _sleep_until(self, due: float) -> None:
        # The pause is counted from when this begins: behind thousands of others that are started at once.
        await self._clock.sleep(max(0.0, due - self._clock.monotonic()))

    async def _take_turn(self, job: Job, due: float) -> ProbeResult:
        slots = self._slots.setdefault(job.group, asyncio.Semaphore(self._concurrency))
        async with slots:
            self._observer.ran_late(job.target, max(0.0, self._clock.monotonic() - due))
            return await self._run_once(job)

    async def _run_once(self, job: Job) -> ProbeResult:
        if job.target in self._stuck:
            return self._local_fault("the probe before this one is still stuck")
        run = asyncio.create_task(job.probe.run(Deadline.after(job.timeout_s)), name=f"run {job.target}")
        try:
            if not await self._ended(run, job.timeout_s + KILL_GRACE_S):
                run.cancel()
                await self._ended(run, KILL_GRACE_S)
        except asyncio.CancelledError:
            run.cancel()
            raise
        if not run.done():
            self._leave_behind(job.target, run)
        if not run.done() or run.cancelled():
            return self._local_fault(f"the probe did not end {KILL_GRACE_S:g} s after its deadline and was killed")
        if (error := run.exception()) is not None:
            return self._local_fault(f"the probe itself failed with {type(error).__name__}")
        return run.result()

    async def _ended(self, run: asyncio.Task[ProbeResult], within_s: float) -> bool:
        alarm = asyncio.ensure_future(self._clock.sleep(within_s))
        try:
            await asyncio.wait({run, alarm}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
        return run.done()

    def _leave_behind(self, target: str, run: asyncio.Task[ProbeResult]) -> None:
        self._stuck[target] = run
        run.add_done_callback(lambda _: self._stuck.pop(target, None))

    def _local_fault(self, detail: str) -> ProbeResult:
        return ProbeResult(
            status=ProbeStatus.UNKNOWN,
            at=self._clock.now(),
            response_ms=0.0,
            error_class=ErrorClass.LOCAL,
            detail=detail,
            phase="schedule",
        )

"""Fixed rate, spread, bounded, and nothing that one target does delays another."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from health_probe.scheduler import HURRY_GAP_S, KILL_GRACE_S, Job, Scheduler
from yaoki.events.probe import ErrorClass, ProbeResult, ProbeStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from health_probe.attempt import Deadline


class ScriptedProbe:
    """Takes as long as it is told, on the virtual clock; may ignore being cancelled."""

    def __init__(self, clock: Any, takes_s: float = 0.0, *, stubborn: bool = False) -> None:
        self._clock = clock
        self.takes_s = takes_s
        self._stubborn = stubborn
        self.began: list[float] = []
        self.running = 0
        self.most_running = 0

    async def run(self, _deadline: Deadline) -> ProbeResult:
        self.began.append(self._clock.monotonic())
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        until = self._clock.monotonic() + self.takes_s
        try:
            await self._sleep(until)
        finally:
            self.running -= 1
        return ProbeResult(status=ProbeStatus.HEALTHY, at=self._clock.now(), response_ms=self.takes_s * 1000)

    async def _sleep(self, until: float) -> None:
        while self._clock.monotonic() < until:
            try:
                await self._clock.sleep(until - self._clock.monotonic())
            except asyncio.CancelledError:
                if not self._stubborn:
                    raise


class BrokenProbe:
    """Has a defect of its own."""

    async def run(self, _deadline: Deadline) -> ProbeResult:
        raise ZeroDivisionError


class Recorder:
    """An `Observer` that remembers; `intervals` overrides the interval of a target."""

    def __init__(self, interval: float = 10.0) -> None:
        self.results: dict[str, list[ProbeResult]] = defaultdict(list)
        self.late: dict[str, list[float]] = defaultdict(list)
        self.interval = interval

    def observe(self, target: str, result: ProbeResult) -> float:
        self.results[target].append(result)
        return self.interval

    def ran_late(self, target: str, seconds: float) -> None:
        self.late[target].append(seconds)


def job(target: str, probe: Any, *, group: str = "tcp", jitter: float = 0.0) -> Job:
    return Job(target=target, group=group, probe=probe, interval_s=10.0, timeout_s=5.0, jitter=jitter)


@asynccontextmanager
async def running(clock: Any, recorder: Recorder, *jobs: Job, concurrency: int = 64) -> AsyncIterator[None]:
    random = Random(7)  # noqa: S311 - the same jitter in every run
    scheduler = Scheduler(clock=clock, random=random, observer=recorder, concurrency=concurrency)
    task = asyncio.create_task(scheduler.run(jobs))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_the_rate_is_fixed_however_long_a_probe_takes(clock: Any) -> None:
    probe = ScriptedProbe(clock, takes_s=3.0)
    async with running(clock, Recorder(), job("slow", probe)):
        await clock.advance(100.0)

    gaps = [later - earlier for earlier, later in zip(probe.began, probe.began[1:], strict=False)]
    assert gaps == pytest.approx([10.0] * 9)
    assert probe.began[0] < 10.0


async def test_first_probes_are_spread_over_the_interval(clock: Any) -> None:
    probes = {f"target-{number}": ScriptedProbe(clock) for number in range(100)}
    async with running(clock, Recorder(), *(job(name, probe) for name, probe in probes.items())):
        await clock.advance(10.0)

    firsts = [probe.began[0] for probe in probes.values()]
    by_second = [sum(second <= first < second + 1 for first in firsts) for second in range(10)]
    assert sum(by_second) == 100
    assert max(by_second) <= 25


async def test_jitter_only_ever_shortens_the_wait(clock: Any) -> None:
    """Whoever reckons how soon a failure is found reckons with the interval."""
    probe = ScriptedProbe(clock)
    async with running(clock, Recorder(), job("jittery", probe, jitter=0.2)):
        await clock.advance(1000.0)

    gaps = [later - earlier for earlier, later in zip(probe.began, probe.began[1:], strict=False)]
    assert min(gaps) >= 8.0
    assert max(gaps) <= 10.0 + 1e-6
    assert len({round(gap, 3) for gap in gaps}) > 50


async def test_a_hanging_target_delays_no_other(clock: Any) -> None:
    hanging = ScriptedProbe(clock, takes_s=1e9)
    quick = ScriptedProbe(clock)
    recorder = Recorder()
    async with running(clock, recorder, job("hanging", hanging), job("quick", quick)):
        await clock.advance(100.0)

    assert len(quick.began) == 10
    assert max(recorder.late["quick"]) == pytest.approx(0.0, abs=1e-6)
    assert hanging.most_running == 1


async def test_hundreds_of_hanging_targets_delay_no_other_of_their_kind(clock: Any) -> None:
    """As many as 6,000 targets have when every twentieth hangs."""
    hanging = [job(f"hanging-{number}", ScriptedProbe(clock, takes_s=1e9)) for number in range(300)]
    quick = ScriptedProbe(clock)
    recorder = Recorder()
    scheduler = Scheduler(clock=clock, random=Random(7), observer=recorder)  # noqa: S311 - the same in every run
    task = asyncio.create_task(scheduler.run([*hanging, job("quick", quick)]))
    await clock.advance(40.0)
    task.cancel()
    await asyncio.wait({task})

    assert len(quick.began) == 4
    assert max(recorder.late["quick"]) == pytest.approx(0.0, abs=1e-6)


async def test_a_probe_that_outlives_its_deadline_is_killed_as_the_probers_fault(clock: Any) -> None:
    probe = ScriptedProbe(clock, takes_s=1e9)
    recorder = Recorder(interval=1000.0)
    async with running(clock, recorder, job("hanging", probe)):
        await clock.advance(10.0 + 5.0 + KILL_GRACE_S)
        assert probe.running == 0

    (result,) = recorder.results["hanging"]
    assert (result.status, result.error_class) == (ProbeStatus.UNKNOWN, ErrorClass.LOCAL)


async def test_a_probe_that_cannot_be_killed_is_left_behind_once(clock: Any) -> None:
    """Otherwise each beat would leave another one, until memory or connections are used up."""
    probe = ScriptedProbe(clock, takes_s=60.0, stubborn=True)
    recorder = Recorder()
    async with running(clock, recorder, job("stuck", probe)):
        await clock.advance(50.0)
        assert probe.most_running == 1
        assert len(recorder.results["stuck"]) >= 3
        assert {result.error_class for result in recorder.results["stuck"]} == {ErrorClass.LOCAL}
        probe.takes_s = 0.0
        await clock.advance(60.0)

    assert recorder.results["stuck"][-1].status is ProbeStatus.HEALTHY


async def test_a_group_is_bounded_and_waiting_counts_as_late(clock: Any) -> None:
    shared = ScriptedProbe(clock, takes_s=2.0)
    recorder = Recorder()
    names = [f"target-{number}" for number in range(40)]
    async with running(clock, recorder, *(job(name, shared) for name in names), concurrency=4):
        await clock.advance(30.0)

    assert shared.most_running == 4
    assert max(seconds for name in names for seconds in recorder.late[name]) > 1.0


async def test_one_full_group_does_not_hold_back_another(clock: Any) -> None:
    full = [job(f"full-{number}", ScriptedProbe(clock, takes_s=5.0), group="http") for number in range(20)]
    free = ScriptedProbe(clock)
    recorder = Recorder()
    async with running(clock, recorder, *full, job("free", free, group="redis"), concurrency=1):
        await clock.advance(100.0)

    assert len(free.began) == 10
    assert max(recorder.late["free"]) == pytest.approx(0.0, abs=1e-6)


async def test_beats_that_have_passed_are_dropped(clock: Any) -> None:
    """A prober that was suspended must not come back with a burst."""
    probe = ScriptedProbe(clock, takes_s=4.9)
    recorder = Recorder(interval=1.0)
    async with running(clock, recorder, job("slow", probe)):
        await clock.advance(60.0)

    gaps = [later - earlier for earlier, later in zip(probe.began, probe.began[1:], strict=False)]
    assert gaps == pytest.approx([4.9] * len(gaps))


async def test_the_observer_sets_the_pace(clock: Any) -> None:
    probe = ScriptedProbe(clock)
    recorder = Recorder()
    async with running(clock, recorder, job("suspect", probe)):
        await clock.advance(10.0)
        recorder.interval = 1.0
        await clock.advance(10.0)
        fast = len(probe.began)
        await clock.advance(10.0)

    assert fast >= 2
    assert len(probe.began) - fast == 10


async def test_a_target_that_is_hurried_is_probed_at_once_and_keeps_its_rate_from_then(clock: Any) -> None:
    probe = ScriptedProbe(clock, takes_s=0.1)
    scheduler = Scheduler(clock=clock, random=Random(7), observer=Recorder())  # noqa: S311 - the same in every run
    task = asyncio.create_task(scheduler.run([job("db", probe), job("other", ScriptedProbe(clock))]))
    await clock.advance(15.0)
    before = list(probe.began)
    scheduler.hurry("db")
    scheduler.hurry("nobody")
    await clock.advance(20.0)
    task.cancel()
    await asyncio.wait({task})

    assert probe.began[len(before) :] == pytest.approx([15.0, 25.0, 35.0])
    assert before[-1] + 10.0 > 15.0 + HURRY_GAP_S, "its beat was not due"


async def test_a_thousand_who_hurry_one_target_probe_it_once_a_second(clock: Any) -> None:
    probe = ScriptedProbe(clock, takes_s=0.1)
    scheduler = Scheduler(clock=clock, random=Random(7), observer=Recorder())  # noqa: S311 - the same in every run
    task = asyncio.create_task(scheduler.run([job("db", probe)]))
    await clock.advance(15.0)
    for _ in range(100):
        for _ in range(10):
            scheduler.hurry("db")
        await clock.advance(0.1)
    task.cancel()
    await asyncio.wait({task})

    gaps = [later - earlier for earlier, later in zip(probe.began[1:], probe.began[2:], strict=False)]
    assert len(gaps) >= 8
    assert min(gaps) >= HURRY_GAP_S
    assert probe.most_running == 1


async def test_a_defect_of_a_probe_ends_neither_it_nor_the_others(clock: Any) -> None:
    quick = ScriptedProbe(clock)
    recorder = Recorder()
    async with running(clock, recorder, job("broken", BrokenProbe()), job("quick", quick)):
        await clock.advance(30.0)

    assert len(quick.began) == 3
    assert [result.error_class for result in recorder.results["broken"]] == [ErrorClass.LOCAL] * 3
    assert "ZeroDivisionError" in recorder.results["broken"][0].detail

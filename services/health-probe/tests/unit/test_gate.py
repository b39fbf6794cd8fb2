"""A prober that is not well itself raises nothing, clears nothing, and finds what is really broken right after."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Self

import pytest
from health_probe.attempt import Deadline
from health_probe.crowd import Crowd, CrowdLimits
from health_probe.gate import Gate
from health_probe.hysteresis import Health, TargetState, Thresholds, Transition, advance, initial, next_interval
from health_probe.scheduler import Job, Scheduler
from health_probe.self_health import BEAT_S, Limits, SelfHealth, Sign
from yaoki.errors import FatalError
from yaoki.events.probe import ErrorClass, ProbeResult, ProbeStatus

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = Limits(loop_lag_s=2.0, clock_jump_s=2.0, settle_s=10.0)
THRESHOLDS = Thresholds(interval_s=10.0, suspect_interval_s=5.0)


class JumpingClock:
    """The virtual clock with a wall that a test may move."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.shift = timedelta(0)
        self.lost_s = 0.0

    def now(self) -> datetime:
        wall: datetime = self._clock.now() + self.shift
        return wall

    def monotonic(self) -> float:
        elapsed: float = self._clock.monotonic() + self.lost_s
        return elapsed

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


class Target:
    """A probe of something that is well or not; `reads_age` judges by the wall clock, as a heartbeat does."""

    def __init__(self, clock: JumpingClock, *, reads_age: bool = False, phase: str = "connect") -> None:
        self._clock = clock
        self._born = clock.now()
        self._elapsed = clock.monotonic()
        self._reads_age = reads_age
        self._phase = phase
        self.broken = False

    async def run(self, _deadline: Deadline) -> ProbeResult:
        bad = self.broken
        if self._reads_age:
            age = self._clock.now() - self._born - timedelta(seconds=self._clock.monotonic() - self._elapsed)
            bad = bad or abs(age) > timedelta(minutes=1)
        status = ProbeStatus.UNHEALTHY if bad else ProbeStatus.HEALTHY
        error = ErrorClass.TIMEOUT if bad else None
        return ProbeResult(
            status=status, at=self._clock.now(), response_ms=1.0, error_class=error, detail="seen", phase=self._phase
        )

    def set_right(self) -> None:
        """The wall clock of now is taken for right."""
        self._born, self._elapsed = self._clock.now(), self._clock.monotonic()


class Answers:
    """See `OwnResolver`."""

    def __init__(self, problem: str | None = None) -> None:
        self.says = problem
        self.asked = 0

    async def problem(self, _within_s: float) -> str | None:
        self.asked += 1
        return self.says


class Prober:
    """The state machines of all targets behind one gate, run by the real scheduler."""

    def __init__(self, clock: Any, targets: dict[str, Callable[[JumpingClock], Target]]) -> None:
        self.virtual = clock
        self.clock = JumpingClock(clock)
        self.health = SelfHealth(LIMITS, now=clock.monotonic(), wall=clock.now())
        self.crowd = Crowd(CrowdLimits())
        self.resolver = Answers()
        self.withheld_by: list[str] = []
        self.gate = Gate(health=self.health, crowd=self.crowd, resolver=self.resolver, counter=self, clock=self.clock)
        self.targets = {name: build(self.clock) for name, build in targets.items()}
        self.states: dict[str, TargetState] = {name: initial(name, "v", clock.now()) for name in targets}
        self.told: list[tuple[str, Transition]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def withheld(self, sign: str) -> None:
        self.withheld_by.append(sign)

    def observe(self, target: str, result: ProbeResult) -> float:
        self.states[target], decisions = advance(self.states[target], result, THRESHOLDS)
        self.told += [(target, decision.transition) for decision in decisions]
        return next_interval(self.states[target], THRESHOLDS)

    def ran_late(self, _target: str, _seconds: float) -> None: ...

    async def __aenter__(self) -> Self:
        jobs = [
            Job(
                target=name,
                group="tcp",
                probe=self.gate.guarding(name, target),
                interval_s=THRESHOLDS.interval_s,
                timeout_s=5.0,
                jitter=0.0,
            )
            for name, target in self.targets.items()
        ]
        scheduler = Scheduler(clock=self.clock, random=Random(7), observer=self)  # noqa: S311 - the same in every run
        self._tasks = [asyncio.create_task(scheduler.run(jobs)), asyncio.create_task(self._beat())]
        await self.virtual.advance(30.0)
        assert {state.health for state in self.states.values()} == {Health.HEALTHY}
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _beat(self) -> None:
        while True:
            self.health.beat(self.clock.monotonic(), self.clock.now())
            await self.clock.sleep(BEAT_S)

    def break_all(self, *, broken: bool = True) -> None:
        for target in self.targets.values():
            target.broken = broken

    def nats(self, *, reachable: bool) -> None:
        now = self.clock.monotonic()
        self.crowd.nats(now, reachable=reachable)
        self.health.note(Sign.CROWD, now, self.crowd.problem)


def crowd_of(count: int) -> dict[str, Callable[[JumpingClock], Target]]:
    return {f"t{number}": Target for number in range(count)}


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_jumps_by_an_hour_raises_and_clears_nothing(clock: Any, hours: int) -> None:
    """Not even of targets that are judged by age; a failure that was open stays so, and ends when it really does."""
    targets = {"beat": lambda clock: Target(clock, reads_age=True), "db": Target, "down": Target}
    async with Prober(clock, targets) as prober:
        prober.targets["down"].broken = True
        await clock.advance(60.0)
        assert prober.told == [("down", Transition.SUSPECTED), ("down", Transition.DETECTED)]

        prober.clock.shift += timedelta(hours=hours)
        await clock.advance(8.0)
        assert prober.gate.reasons() == [f"the prober is not well itself: its clock jumped by {hours * 3600:+.1f} s"]
        prober.targets["beat"].set_right()
        await clock.advance(120.0)
        assert len(prober.told) == 2
        assert prober.states["down"].health is Health.FAILED
        assert prober.gate.reasons() == []
        assert set(prober.withheld_by) == {Sign.CLOCK}

        prober.targets["down"].broken = False
        await clock.advance(60.0)
    assert prober.told[2:] == [("down", Transition.CLEARED)]


async def test_a_failure_that_begins_while_the_clock_jumps_is_found_after_it(clock: Any) -> None:
    async with Prober(clock, crowd_of(3)) as prober:
        prober.clock.shift += timedelta(hours=1)
        prober.targets["t1"].broken = True
        await clock.advance(LIMITS.settle_s + 40.0)

    assert prober.told == [("t1", Transition.SUSPECTED), ("t1", Transition.DETECTED)]


async def test_what_was_seen_through_a_standstill_is_not_believed(clock: Any) -> None:
    """The machine sleeps for a minute: every probe under way times out at once when it wakes."""
    async with Prober(clock, crowd_of(4)) as prober:
        prober.break_all()
        prober.clock.lost_s += 60.0
        await clock.advance(LIMITS.settle_s - 1.0)
        assert {state.health for state in prober.states.values()} <= {Health.UNKNOWN, Health.HEALTHY}
        prober.break_all(broken=False)
        await clock.advance(60.0)

    assert prober.told == []
    assert Sign.LOOP in prober.withheld_by


async def test_a_standstill_is_noticed_by_a_result_that_comes_before_the_overdue_beat(clock: Any) -> None:
    async with Prober(clock, crowd_of(1)) as prober:
        prober.clock.lost_s += 60.0
        result = await prober.gate.guarding("t0", prober.targets["t0"]).run(Deadline.after(1.0))

    assert result.status is ProbeStatus.UNKNOWN
    assert prober.withheld_by == [Sign.LOOP]


async def test_when_everything_and_nats_is_gone_it_is_us(clock: Any) -> None:
    """However long it lasts; a target that is really down afterwards is found then."""
    async with Prober(clock, crowd_of(12)) as prober:
        prober.nats(reachable=True)
        prober.break_all()
        prober.nats(reachable=False)
        await clock.advance(600.0)
        assert [transition for _, transition in prober.told if transition is not Transition.SUSPECTED] == []
        assert "targets turned bad with it" in prober.gate.reasons()[0]

        prober.nats(reachable=True)
        prober.break_all(broken=False)
        prober.targets["t3"].broken = True
        await clock.advance(LIMITS.settle_s + 60.0)

    raised = [target for target, transition in prober.told if transition is Transition.DETECTED]
    assert raised == ["t3"]
    assert prober.gate.reasons() == []


async def test_when_everything_but_nats_is_gone_it_is_a_disaster(clock: Any) -> None:
    async with Prober(clock, crowd_of(12)) as prober:
        prober.nats(reachable=True)
        prober.break_all()
        await clock.advance(60.0)

    assert {target for target, transition in prober.told if transition is Transition.DETECTED} == set(prober.targets)


async def test_one_failure_while_nats_is_away_is_one_failure(clock: Any) -> None:
    async with Prober(clock, crowd_of(12)) as prober:
        prober.nats(reachable=True)
        prober.nats(reachable=False)
        prober.targets["t3"].broken = True
        await clock.advance(60.0)

    assert prober.told == [("t3", Transition.SUSPECTED), ("t3", Transition.DETECTED)]


@pytest.mark.parametrize(
    ("problem", "status"), [(None, ProbeStatus.UNHEALTHY), ("nobody answers", ProbeStatus.UNKNOWN)]
)
async def test_a_name_that_does_not_resolve_is_held_against_its_target_only_if_our_resolver_answers(
    clock: Any, problem: str | None, status: ProbeStatus
) -> None:

    async with Prober(clock, {"db": lambda clock: Target(clock, phase="dns"), "by-address": Target}) as prober:
        prober.resolver.says = problem
        prober.break_all()
        named = await prober.gate.guarding("db", prober.targets["db"]).run(Deadline.after(1.0))
        numbered = await prober.gate.guarding("by-address", prober.targets["by-address"]).run(Deadline.after(1.0))

    assert named.status is status
    assert numbered.status is ProbeStatus.UNHEALTHY
    assert prober.resolver.asked == 1


async def test_what_is_withheld_says_why_and_what_was_seen(clock: Any) -> None:

    async with Prober(clock, crowd_of(1)) as prober:
        prober.health.note(Sign.NETWORK, prober.clock.monotonic(), "its default route is gone")
        prober.break_all()
        result = await prober.gate.guarding("t0", prober.targets["t0"]).run(Deadline.after(1.0))

    assert (result.status, result.error_class) == (ProbeStatus.UNKNOWN, ErrorClass.LOCAL)
    assert result.detail == ("the prober is not well itself: its default route is gone; it saw: unhealthy, seen")


async def test_a_defect_of_the_probe_passes_through(clock: Any) -> None:

    class Broken:
        async def run(self, _deadline: Deadline) -> ProbeResult:
            raise FatalError("broken")

    async with Prober(clock, crowd_of(1)) as prober:
        with pytest.raises(FatalError):
            await prober.gate.guarding("t0", Broken()).run(Deadline.after(1.0))

"""What a prober that is not well itself sees is not believed; and it is not blind for longer than it has to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from health_probe.crowd import Crowd, CrowdLimits
from health_probe.self_health import BEAT_S, Limits, SelfHealth, Sign
from hypothesis import given
from hypothesis import strategies as st

WALL = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(loop_lag_s=2.0, clock_jump_s=2.0, settle_s=10.0)

pauses = st.lists(st.floats(0.0, 30.0), min_size=1, max_size=30)
jumps = st.sampled_from([-3600.0, -5.0, 0.0, 0.0, 0.0, 5.0, 3600.0])


class Machine:
    """Two clocks, of which one may jump, and a prober that looks at them."""

    def __init__(self) -> None:
        self.now, self.wall = 1000.0, WALL
        self.health = SelfHealth(LIMITS, now=self.now, wall=self.wall)

    def passes(self, seconds: float, *, jump: float = 0.0) -> None:
        self.now += seconds
        self.wall += timedelta(seconds=seconds + jump)

    def beats(self, seconds: float) -> None:
        """Time passes, the loop turns."""
        until = self.now + seconds
        while self.now < until:
            self.passes(min(BEAT_S, until - self.now))
            self.health.beat(self.now, self.wall)

    def believes(self, started: float) -> bool:
        self.health.look(self.now, self.wall)
        return self.health.sign_since(started, self.now) is None


@given(pauses)
def test_a_result_whose_probe_ran_through_a_standstill_is_never_believed(durations: list[float]) -> None:
    """Also when the result comes before the beat that is overdue."""
    machine = Machine()
    for duration in durations:
        started = machine.now
        machine.passes(duration)
        if duration > BEAT_S + LIMITS.loop_lag_s:
            assert not machine.believes(started)
            assert Sign.LOOP in machine.health.signs(machine.now)
        machine.health.beat(machine.now, machine.wall)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), jumps), max_size=30))
def test_after_a_jump_of_the_clock_nothing_is_believed_for_a_while_and_without_one_everything(
    story: list[tuple[float, float]],
) -> None:
    machine = Machine()
    jumped_at: float | None = None
    for duration, jump in story:
        machine.passes(duration, jump=jump)
        jumped_at = machine.now if jump else jumped_at
        believed = machine.believes(machine.now)
        assert believed == (jumped_at is None or machine.now - jumped_at >= LIMITS.settle_s)
        machine.health.beat(machine.now, machine.wall)


@given(st.lists(st.tuples(st.floats(0.0, 20.0), jumps), max_size=20))
def test_a_prober_that_shows_no_sign_for_a_while_is_well(story: list[tuple[float, float]]) -> None:
    machine = Machine()
    for duration, jump in story:
        machine.passes(duration, jump=jump)
        machine.health.beat(machine.now, machine.wall)

    machine.beats(LIMITS.settle_s + 2 * BEAT_S)

    assert machine.health.signs(machine.now) == {}
    assert machine.believes(machine.now)


def test_a_clock_that_is_slewed_does_not_jump() -> None:
    machine = Machine()
    for _ in range(4000):
        machine.passes(BEAT_S, jump=BEAT_S * 0.01)
        machine.health.beat(machine.now, machine.wall)
        assert machine.health.signs(machine.now) == {}

    assert machine.wall - WALL - timedelta(seconds=machine.now - 1000.0) > timedelta(seconds=LIMITS.clock_jump_s)


def test_a_lasting_sign_counts_until_it_is_taken_back_and_a_while_longer() -> None:
    machine = Machine()
    machine.health.note(Sign.NETWORK, machine.now, "no way out")
    machine.beats(3600.0)
    assert machine.health.signs(machine.now) == {Sign.NETWORK: "no way out"}

    machine.health.note(Sign.NETWORK, machine.now, None)
    started = machine.now
    machine.beats(LIMITS.settle_s + 1.0)

    assert machine.health.signs(machine.now) == {}
    assert machine.believes(machine.now)
    assert not machine.believes(started), "a probe that began before it was over has seen some of it"


def test_nothing_that_was_never_wrong_is_taken_back() -> None:
    machine = Machine()
    machine.health.note(Sign.NETWORK, machine.now, None)

    assert machine.health.signs(machine.now) == {}


TARGETS = [f"t{number}" for number in range(8)]
crowd_steps = st.lists(
    st.tuples(st.sampled_from(TARGETS), st.booleans(), st.sampled_from([None, True, False])), max_size=80
)


@given(crowd_steps)
def test_while_nats_answers_nothing_is_withheld_however_many_fail(steps: list[tuple[str, bool, bool | None]]) -> None:
    crowd, reachable = Crowd(CrowdLimits()), True
    for second, (target, bad, nats) in enumerate(steps):
        if nats is not None:
            reachable = nats
            crowd.nats(float(second), reachable=nats)
        crowd.result(target, float(second), bad=bad)
        if reachable:
            assert crowd.problem is None


@given(crowd_steps, st.integers(2, 6))
def test_witnesses_have_been_well_before(steps: list[tuple[str, bool, bool | None]], least: int) -> None:
    """A target that was never seen well proves nothing by being unwell."""
    crowd, well = Crowd(CrowdLimits(least=least)), set()
    crowd.nats(0.0, reachable=True)
    crowd.nats(0.5, reachable=False)
    for second, (target, bad, _) in enumerate(steps, start=1):
        crowd.result(target, float(second), bad=bad)
        well |= set() if bad else {target}
        if crowd.problem is not None:
            assert len(well) >= least


def witnesses(crowd: Crowd, now: float, *, bad: int, good: int) -> None:
    for number in range(bad):
        crowd.result(f"bad-{number}", now, bad=True)
    for number in range(good):
        crowd.result(f"good-{number}", now, bad=False)


def crowd_of(bad: int, good: int) -> Crowd:
    """All well, then NATS goes and some turn bad."""
    crowd = Crowd(CrowdLimits())
    for number in range(bad):
        crowd.result(f"bad-{number}", 0.0, bad=False)
    crowd.nats(100.0, reachable=True)
    crowd.nats(101.0, reachable=False)
    witnesses(crowd, 105.0, bad=bad, good=good)
    return crowd


@pytest.mark.parametrize(
    ("bad", "good", "expected"),
    [(8, 0, True), (5, 4, True), (3, 0, True), (4, 4, False), (2, 0, False), (1, 9, False)],
)
def test_more_than_half_of_at_least_three_is_us(bad: int, good: int, expected: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert (crowd_of(bad, good).problem is not None) is expected


def test_it_is_over_when_nats_answers_or_targets_are_well_again() -> None:
    crowd = crowd_of(8, 0)
    crowd.nats(160.0, reachable=True)
    assert crowd.problem is None

    crowd = crowd_of(8, 0)
    for number in range(5):
        crowd.result(f"bad-{number}", 110.0, bad=False)
    assert crowd.problem is None


def test_an_hour_without_nats_makes_it_no_less_our_own_fault() -> None:
    crowd = crowd_of(8, 0)
    for minute in range(60):
        witnesses(crowd, 105.0 + 60 * minute, bad=8, good=0)
        crowd.nats(106.0 + 60 * minute, reachable=False)

    assert crowd.problem is not None


def test_what_turned_bad_while_the_loss_of_nats_was_not_noticed_yet_counts() -> None:
    """The connection may take seconds to be missed; targets may be quicker."""
    crowd = Crowd(CrowdLimits())
    witnesses(crowd, 0.0, bad=0, good=5)
    crowd.nats(100.0, reachable=True)
    for number in range(4):
        crowd.result(f"good-{number}", 100.5 + number, bad=True)
    assert crowd.problem is None

    crowd.nats(105.0, reachable=False)

    assert crowd.problem is not None


def test_targets_that_were_bad_long_before_are_no_witnesses() -> None:
    crowd = Crowd(CrowdLimits())
    witnesses(crowd, 0.0, bad=0, good=5)
    for number in range(5):
        crowd.result(f"good-{number}", 10.0, bad=True)
    crowd.nats(100.0, reachable=True)
    crowd.nats(101.0, reachable=False)
    for number in range(5):
        crowd.result(f"good-{number}", 105.0, bad=True)

    assert crowd.problem is None

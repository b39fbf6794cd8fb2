"""A target that cannot make up its mind gets one alarm and no decision until it has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import pytest
from health_probe.flapping import BAD, GOOD, Damping, changes, flaps, share, with_result
from health_probe.hysteresis import Health, TargetState, Thresholds, Transition, advance, initial, next_interval
from hypothesis import given
from hypothesis import strategies as st
from yaoki.events.probe import ProbeResult, ProbeStatus

if TYPE_CHECKING:
    from health_probe.hysteresis import Decision

START = datetime(2026, 1, 1, tzinfo=UTC)
NEVER = Damping(start=1.0)

marks = st.text(alphabet=[GOOD, BAD], max_size=80)
dampings = st.builds(
    lambda results, stop, more: Damping(results=results, stop=stop, start=min(1.0, stop + more)),
    st.integers(4, 24),
    st.floats(0.1, 0.5),
    st.floats(0.05, 0.5),
)
thresholds = st.builds(Thresholds, unhealthy_after=st.integers(1, 4), healthy_after=st.integers(1, 4), damping=dampings)


def play(history: str, limits: Thresholds) -> list[tuple[TargetState, tuple[Decision, ...]]]:
    """One result a second; the state after each, and what it had told."""
    state, steps = initial("db", "prober-1", START), []
    for second, mark in enumerate(history):
        status = {GOOD: ProbeStatus.HEALTHY, BAD: ProbeStatus.UNHEALTHY}.get(mark, ProbeStatus.UNKNOWN)
        result = ProbeResult(status=status, at=START + timedelta(seconds=second), response_ms=1.0)
        state, told = advance(state, result, limits)
        steps.append((state, told))
    return steps


def told(history: str, limits: Thresholds) -> list[Transition]:
    return [decision.transition for _, decisions in play(history, limits) for decision in decisions]


@given(marks, dampings)
def test_a_window_of_equal_results_ends_it_and_few_changes_never_begin_it(history: str, damping: Damping) -> None:
    recent = ""
    flapping = False
    for mark in history:
        recent = with_result(recent, mark, damping)
        flapping = flaps(recent, damping, before=flapping)
        assert len(recent) <= damping.results
        if len(set(recent)) == 1 and len(recent) == damping.results:
            assert not flapping
        if flapping:
            assert share(recent, damping) >= damping.stop


@given(marks, thresholds)
def test_one_outage_however_long_never_flaps(history: str, limits: Thresholds) -> None:
    """Two changes are at most 2 / (results - 1) of the window."""
    steady = msgspec.structs.replace(limits, damping=Damping())
    outage = GOOD * 25 + BAD * (len(history) + 1) + GOOD * 25

    assert Transition.FLAPPING not in told(outage, steady)


@given(marks, thresholds)
def test_nothing_is_decided_while_it_flaps(history: str, limits: Thresholds) -> None:
    before = Health.UNKNOWN
    for state, decisions in play(history, limits):
        transitions = [decision.transition for decision in decisions]
        if state.health is Health.FLAPPING:
            assert transitions == ([] if before is Health.FLAPPING else [Transition.FLAPPING])
            assert state.incident is not None
        elif before is Health.FLAPPING:
            assert transitions[0] is Transition.STEADIED
            assert transitions[1:] in ([], [Transition.DETECTED], [Transition.CLEARED])
        before = state.health


@given(marks, thresholds)
def test_begin_and_end_alternate_and_belong_to_one_incident(history: str, limits: Thresholds) -> None:
    story = [
        (decision.transition, decision.incident.id)
        for _, decisions in play(history, limits)
        for decision in decisions
        if decision.transition in (Transition.FLAPPING, Transition.STEADIED)
    ]
    for (kind, incident), (next_kind, next_incident) in pairwise([(Transition.STEADIED, ""), *story]):
        assert next_kind is not kind
        if kind is Transition.FLAPPING:
            assert next_incident == incident


@given(marks, thresholds, st.sampled_from([GOOD, BAD]))
def test_whatever_it_did_before_a_steady_target_ends_where_an_undamped_one_does(
    history: str, limits: Thresholds, mark: str
) -> None:
    """No failure is lost, none stays open: damping changes when something is told, not what is true in the end."""
    steady = history + mark * (limits.damping.results + 4)
    undamped = msgspec.structs.replace(limits, damping=NEVER)

    (damped_state, _), (plain_state, _) = play(steady, limits)[-1], play(steady, undamped)[-1]

    assert damped_state.health is plain_state.health is (Health.HEALTHY if mark == GOOD else Health.FAILED)
    decisions = told(steady, limits)
    detected, cleared = decisions.count(Transition.DETECTED), decisions.count(Transition.CLEARED)
    assert detected - cleared == (mark == BAD)


@given(marks, thresholds)
def test_damping_never_adds_an_alarm(history: str, limits: Thresholds) -> None:
    undamped = msgspec.structs.replace(limits, damping=NEVER)

    assert told(history, limits).count(Transition.DETECTED) <= told(history, undamped).count(Transition.DETECTED)


@given(st.text(alphabet=[GOOD, BAD, "?"], max_size=80), thresholds)
def test_the_probers_own_faults_are_no_changes(history: str, limits: Thresholds) -> None:
    assert told(history, limits) == told(history.replace("?", ""), limits)


def test_the_default_story() -> None:
    """Up and down; steady only long after."""
    limits = Thresholds()
    up_and_down = GOOD * 5 + (BAD * 3 + GOOD * 2) * 4
    steps = play(up_and_down + GOOD * 20, limits)

    story = [(second, one.transition) for second, (_, decisions) in enumerate(steps) for one in decisions]
    assert story == [
        (5, Transition.SUSPECTED),
        (7, Transition.DETECTED),
        (9, Transition.CLEARED),
        (10, Transition.SUSPECTED),
        (12, Transition.DETECTED),
        (14, Transition.CLEARED),
        (15, Transition.SUSPECTED),
        (17, Transition.DETECTED),
        (18, Transition.FLAPPING),
        (34, Transition.STEADIED),
        (34, Transition.CLEARED),
    ]
    flapping = steps[20][0]
    assert (flapping.health, flapping.since) == (Health.FLAPPING, START + timedelta(seconds=18))
    assert flapping.incident is not None
    assert flapping.incident.detected
    assert next_interval(flapping, limits) == limits.suspect_interval_s


@pytest.mark.parametrize(("before", "expected"), [(False, False), (True, True)])
def test_between_the_two_thresholds_it_stays_what_it_was(before: bool, expected: bool) -> None:  # noqa: FBT001 - a parameter of the test
    damping = Damping()
    recent = "++--" * 3 + "+" * 8
    assert changes(recent) == 6
    recent = recent[3:] + "+++"

    assert damping.stop <= share(recent, damping) <= damping.start
    assert flaps(recent, damping, before=before) is expected

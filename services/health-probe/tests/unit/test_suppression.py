"""One cause, one alarm; and no failure hidden for ever: the invariants of `health_probe.suppression`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from health_probe.hysteresis import Thresholds
from health_probe.suppression import (
    Dependency,
    Failing,
    Patience,
    Ruling,
    Standing,
    ancestors,
    patience_for,
    rule,
)
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = Patience(settle_s=15.0, hold_s=75.0)

seconds = st.integers(-7200, 7200)
standings = st.sampled_from(Standing)
NAMES = [f"t{number}" for number in range(6)]


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def dependency(standing: Standing, since: float, checked: float, name: str = "db") -> Dependency:
    return Dependency(name=name, standing=standing, since=at(since), checked_at=at(checked))


def failing(first: float, last: float) -> Failing:
    return Failing(first_failed_at=at(first), last_failed_at=at(last))


dependencies = st.lists(st.builds(dependency, standings, seconds, seconds, st.sampled_from(NAMES)), max_size=4)
failings = st.builds(failing, seconds, seconds)


@given(failings, dependencies, st.floats(0, 1e6), st.none() | st.floats(0, 1e6))
def test_nothing_is_raised_while_a_dependency_has_failed(
    child: Failing, parents: list[Dependency], now: float, held_since: float | None
) -> None:
    """However long it has been held, and whatever the clocks say."""
    failed = {one.name for one in parents if one.standing is Standing.FAILED}

    decision = rule(child, parents, PATIENCE, now=now, held_since=held_since)

    assert (decision.ruling is Ruling.SUPPRESS) == bool(failed)
    if failed:
        assert set(decision.because) == failed
        assert decision.held_since is None


@given(
    st.lists(st.tuples(failings, dependencies), min_size=1, max_size=40),
    st.lists(st.floats(0.1, 10.0), min_size=40, max_size=40),
)
def test_without_a_failed_dependency_a_failure_waits_at_most_its_patience(
    story: list[tuple[Failing, list[Dependency]]], steps: list[float]
) -> None:
    """Views may be old, from the future, or contradict each other from one question to the next."""
    now, unexplained_since, held_since = 100.0, None, None
    for (child, parents), step in zip(story, steps, strict=False):
        now += step
        explained = any(one.standing is Standing.FAILED for one in parents)
        unexplained_since = None if explained else (now if unexplained_since is None else unexplained_since)
        decision = rule(child, parents, PATIENCE, now=now, held_since=held_since)
        if unexplained_since is not None and now - unexplained_since >= PATIENCE.hold_s:
            assert decision.ruling is Ruling.RAISE
        if decision.ruling is Ruling.RAISE:
            break
        held_since = decision.held_since


@given(failings, dependencies, st.floats(0, PATIENCE.hold_s, exclude_max=True))
def test_what_is_raised_early_was_not_explained_by_anybody(
    child: Failing, parents: list[Dependency], waited: float
) -> None:
    """Before its patience ends a failure is raised only where every dependency was seen well since it began."""
    decision = rule(child, parents, PATIENCE, now=1000.0 + waited, held_since=1000.0)

    if decision.ruling is Ruling.RAISE:
        for one in parents:
            assert one.standing is Standing.WELL
            assert one.checked_at >= child.first_failed_at
            recovered_meanwhile = one.since > child.first_failed_at
            assert not recovered_meanwhile or child.last_failed_at > one.since


@given(failings, st.lists(st.sampled_from(NAMES), max_size=4), st.integers(0, 7200))
def test_dependencies_that_were_seen_well_all_the_time_delay_nothing(
    child: Failing, names: list[str], age: int
) -> None:
    well = [
        Dependency(
            name=name,
            standing=Standing.WELL,
            since=child.first_failed_at - timedelta(seconds=age),
            checked_at=child.first_failed_at,
        )
        for name in names
    ]

    assert rule(child, well, PATIENCE, now=0.0, held_since=None).ruling is Ruling.RAISE


graphs = st.dictionaries(
    st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3), min_size=len(NAMES), max_size=len(NAMES)
)


@given(graphs, st.sets(st.sampled_from(NAMES), min_size=1))
def test_of_targets_that_fail_together_at_least_one_is_raised(graph: dict[str, list[str]], failed: set[str]) -> None:
    """Also where somebody configured a circle."""
    rulings = {}
    for name in failed:
        parents = [
            dependency(Standing.FAILED if one in failed else Standing.WELL, -100.0, 100.0, one)
            for one in ancestors(name, graph)
        ]
        rulings[name] = rule(failing(0.0, 30.0), parents, PATIENCE, now=0.0, held_since=None)

    assert Ruling.RAISE in {decision.ruling for decision in rulings.values()}
    for name, decision in rulings.items():
        assert name not in decision.because


def test_dependencies_are_transitive() -> None:
    graph = {"shop": ["api"], "api": ["db", "cache"], "db": ["disk"], "other": ["cache"]}

    assert ancestors("shop", graph) == {"api", "db", "cache", "disk"}
    assert ancestors("disk", graph) == frozenset()


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        (dependency(Standing.WELL, -500, 5), Ruling.RAISE),
        (dependency(Standing.WELL, -500, -1), Ruling.HOLD),
        (dependency(Standing.SUSPECT, 1, 5), Ruling.HOLD),
        (dependency(Standing.UNKNOWN, -500, -300), Ruling.HOLD),
        (dependency(Standing.FAILED, 2, 5), Ruling.SUPPRESS),
    ],
    ids=["seen well since", "not seen since", "suspect", "unknown", "failed"],
)
def test_the_first_question(parent: Dependency, expected: Ruling) -> None:
    decision = rule(failing(0, 10), [parent], PATIENCE, now=7.0, held_since=None)

    assert decision.ruling is expected
    assert decision.held_since == (7.0 if expected is Ruling.HOLD else None)


def test_after_its_dependency_recovered_a_target_gets_time_to_follow_and_is_then_raised() -> None:
    recovered = dependency(Standing.WELL, 60, 61)

    before = rule(failing(0, 59), [recovered], PATIENCE, now=100.0, held_since=None)
    soon = rule(failing(0, 70), [recovered], PATIENCE, now=111.0, held_since=before.held_since)
    settled = rule(failing(0, 75), [recovered], PATIENCE, now=116.0, held_since=soon.held_since)

    assert [one.ruling for one in (before, soon, settled)] == [Ruling.HOLD, Ruling.HOLD, Ruling.RAISE]
    assert soon.held_since == before.held_since


@pytest.mark.parametrize("standing", [Standing.SUSPECT, Standing.UNKNOWN])
def test_a_dependency_that_is_never_found_out_hides_nothing_for_ever(standing: Standing) -> None:
    unclear = dependency(standing, -500, -300)
    held_since = None
    for second in range(int(PATIENCE.hold_s)):
        held = rule(failing(0, second), [unclear], PATIENCE, now=float(second), held_since=held_since)
        assert held.ruling is Ruling.HOLD
        held_since = held.held_since

    assert rule(failing(0, 75), [unclear], PATIENCE, now=75.0, held_since=held_since).ruling is Ruling.RAISE


def test_a_relapse_of_the_dependency_begins_the_wait_anew() -> None:
    held = rule(failing(0, 10), [dependency(Standing.SUSPECT, 1, 10)], PATIENCE, now=0.0, held_since=None)
    suppressed = rule(
        failing(0, 60), [dependency(Standing.FAILED, 11, 60)], PATIENCE, now=60.0, held_since=held.held_since
    )
    again = rule(
        failing(0, 80), [dependency(Standing.WELL, 79, 80)], PATIENCE, now=80.0, held_since=suppressed.held_since
    )

    assert [one.ruling for one in (held, suppressed, again)] == [Ruling.HOLD, Ruling.SUPPRESS, Ruling.HOLD]
    assert again.held_since == 80.0


def test_the_wait_is_long_enough_for_the_slowest_dependency_to_be_judged() -> None:
    child = Thresholds(unhealthy_after=3, suspect_interval_s=5.0)
    slow = Thresholds(interval_s=60.0, unhealthy_after=3, suspect_interval_s=5.0)

    patience = patience_for(child, [(Thresholds(), 5.0), (slow, 10.0)])

    assert patience == Patience(settle_s=15.0, hold_s=15.0 + 60.0 + 3 * (5.0 + 10.0))
    assert patience_for(child, []).hold_s == 15.0

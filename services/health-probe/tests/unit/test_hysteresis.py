"""The state machine keeps its promises for every sequence of results."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import pytest
from health_probe.flapping import Damping
from health_probe.hysteresis import (
    EVIDENCE_LIMIT,
    Decision,
    Health,
    TargetState,
    Thresholds,
    Transition,
    advance,
    initial,
    next_interval,
)
from health_probe.records import HealthRecord, restore, to_record
from health_probe.verdicts import Identity
from hypothesis import given
from hypothesis import strategies as st
from yaoki.events.probe import ErrorClass, FailureType, ProbeResult, ProbeStatus
from yaoki.subjects import token

if TYPE_CHECKING:
    from collections.abc import Sequence

START = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = Identity(
    target="orders-db",
    kind="postgres",
    region="local",
    vantage="prober-1",
    failure_type=FailureType.DATABASE_CONNECTION,
)
STATUSES = {
    "F": ProbeStatus.UNHEALTHY,
    "S": ProbeStatus.HEALTHY,
    "D": ProbeStatus.DEGRADED,
    "L": ProbeStatus.UNKNOWN,
}

TOLD_ONCE = (Transition.SUSPECTED, Transition.DETECTED, Transition.CLEARED)

histories = st.text(alphabet="FSDL", max_size=60)
UNDAMPED = Damping(start=1.0)
thresholds = st.builds(
    Thresholds,
    unhealthy_after=st.integers(1, 5),
    healthy_after=st.integers(1, 4),
    damping=st.sampled_from([UNDAMPED, Damping(), Damping(results=6, start=0.5, stop=0.3)]),
)
undamped = thresholds.map(lambda limits: msgspec.structs.replace(limits, damping=UNDAMPED))


def result(letter: str, second: int) -> ProbeResult:
    error_class = {"F": ErrorClass.REFUSED, "L": ErrorClass.LOCAL}.get(letter)
    return ProbeResult(
        status=STATUSES[letter],
        at=START + timedelta(seconds=second),
        response_ms=1.0,
        error_class=error_class,
    )


def play(
    history: str, limits: Thresholds, restarts: frozenset[int] = frozenset()
) -> tuple[TargetState, list[tuple[int, Decision]]]:
    """Run a history; before each index in `restarts` the prober dies and reads its stored view back."""
    state, told = initial("orders-db", "prober-1", START), []
    for index, letter in enumerate(history):
        if index in restarts and state.last is not None:
            state = stored_and_read_back(state, limits)
        state, decisions = advance(state, result(letter, index + 1), limits)
        told += [(index, decision) for decision in decisions]
    return state, told


def stored_and_read_back(state: TargetState, limits: Thresholds) -> TargetState:
    assert state.last is not None
    raw = msgspec.json.encode(to_record(state, state.last, IDENTITY))
    return restore(msgspec.json.decode(raw, type=HealthRecord), limits, state.last.at)


def transitions(told: Sequence[tuple[int, Decision]]) -> list[Transition]:
    return [decision.transition for _, decision in told]


@given(histories, thresholds)
def test_no_detection_without_enough_failures_in_a_row(history: str, limits: Thresholds) -> None:
    """The prober's own faults neither count nor interrupt."""
    _, told = play(history, limits)

    for index, decision in told:
        if decision.transition is Transition.DETECTED:
            evidence = history[: index + 1].replace("L", "")
            assert evidence.endswith("F" * limits.unhealthy_after)


@given(histories, thresholds)
def test_no_clearing_without_enough_successes_in_a_row(history: str, limits: Thresholds) -> None:
    _, told = play(history, limits)

    for index, decision in told:
        if decision.transition is Transition.CLEARED:
            evidence = history[: index + 1].replace("L", "").replace("D", "S")
            assert evidence.endswith("S" * limits.healthy_after)


@given(histories, undamped)
def test_every_long_enough_row_of_failures_is_detected(history: str, limits: Thresholds) -> None:
    """Safety alone would be kept by a machine that never says anything."""
    state, _ = play(history, limits)

    if history.replace("L", "").endswith("F" * limits.unhealthy_after):
        assert state.health is Health.FAILED
    if history.replace("L", "").replace("D", "S").endswith("S" * limits.healthy_after):
        assert state.incident is None


@given(histories, thresholds, st.frozensets(st.integers(0, 60)))
def test_each_detection_is_cleared_once_before_the_next(
    history: str, limits: Thresholds, restarts: frozenset[int]
) -> None:
    """Also when the prober is restarted at any moments in between."""
    state, told = play(history, limits, restarts)

    pairs = [
        (decision.transition, decision.incident.id)
        for _, decision in told
        if decision.transition in (Transition.DETECTED, Transition.CLEARED)
    ]
    for (kind, incident), (next_kind, next_incident) in pairwise(pairs):
        if kind is Transition.DETECTED:
            assert (next_kind, next_incident) == (Transition.CLEARED, incident)
        else:
            assert next_kind is Transition.DETECTED
            assert next_incident != incident
    still_open = bool(pairs) and pairs[-1][0] is Transition.DETECTED
    assert still_open == (state.incident is not None and state.incident.detected)
    assert still_open or state.health is not Health.FAILED


@given(histories, thresholds, st.frozensets(st.integers(0, 60)))
def test_a_restart_changes_nothing_that_is_told(history: str, limits: Thresholds, restarts: frozenset[int]) -> None:
    _, undisturbed = play(history, limits)
    _, restarted = play(history, limits, restarts)

    def said(told: Sequence[tuple[int, Decision]]) -> list[tuple[int, Transition, str]]:
        return [(index, decision.transition, decision.incident.id) for index, decision in told]

    assert said(restarted) == said(undisturbed)


@given(histories, undamped)
def test_an_incident_is_suspected_once_and_first(history: str, limits: Thresholds) -> None:
    _, told = play(history, limits)
    by_incident: dict[str, list[Transition]] = {}
    for _, decision in told:
        by_incident.setdefault(decision.incident.id, []).append(decision.transition)

    whole = [Transition.SUSPECTED, Transition.DETECTED, Transition.CLEARED]
    for said in by_incident.values():
        assert said == whole[: len(said)]


@given(histories, thresholds)
def test_each_transition_of_an_incident_is_told_once_and_its_identity_fits_a_subject(
    history: str, limits: Thresholds
) -> None:
    _, told = play(history, limits)

    identities = [
        (decision.incident.id, decision.transition) for _, decision in told if decision.transition in TOLD_ONCE
    ]
    assert len(set(identities)) == len(identities)
    for _, decision in told:
        token(f"{decision.incident.id}-database_connection", "run id")
        assert len(decision.incident.evidence) <= EVIDENCE_LIMIT


@given(histories, thresholds)
def test_the_probers_own_faults_say_nothing_about_the_target(history: str, limits: Thresholds) -> None:
    _, told = play(history, limits)
    _, without = play(history.replace("L", ""), limits)

    assert transitions(told) == transitions(without)


def test_the_default_story() -> None:
    """Three failures in a row, two successes in a row."""
    limits = Thresholds()
    state, told = play("SFFFFSFSS", limits)

    assert [(index, decision.transition) for index, decision in told] == [
        (1, Transition.SUSPECTED),
        (3, Transition.DETECTED),
        (8, Transition.CLEARED),
    ]
    assert state.health is Health.HEALTHY
    cleared = told[2][1]
    assert (cleared.at - cleared.incident.first_failed_at).total_seconds() == 7.0


def test_a_suspicion_that_comes_to_nothing_is_not_cleared() -> None:
    state, told = play("SFSS", Thresholds())

    assert transitions(told) == [Transition.SUSPECTED]
    assert (state.health, state.incident) == (Health.HEALTHY, None)


def test_a_suspect_or_failed_target_is_probed_faster() -> None:
    limits = Thresholds(interval_s=30.0, suspect_interval_s=5.0)

    intervals = [next_interval(play("SFFFSSS"[:length], limits)[0], limits) for length in range(1, 8)]

    assert intervals == [30.0, 5.0, 5.0, 5.0, 5.0, 30.0, 30.0]


def test_a_healthy_target_becomes_unknown_when_the_prober_is_at_fault() -> None:
    assert play("SL", Thresholds())[0].health is Health.UNKNOWN
    assert play("FFFL", Thresholds())[0].health is Health.FAILED


@pytest.mark.parametrize("restart", range(19, 38))
def test_a_failure_that_was_told_before_it_flapped_is_cleared_also_after_a_restart(restart: int) -> None:
    """Three bad, two good, and again; then steady."""
    state, told = play("SSSSS" + "FFFSS" * 4 + "S" * 20, Thresholds(), frozenset({restart}))

    steadied = transitions(told)[-3:]
    assert steadied == [Transition.FLAPPING, Transition.STEADIED, Transition.CLEARED]
    assert (state.health, state.incident) == (Health.HEALTHY, None)


def test_after_a_long_silence_nothing_is_in_a_row_but_the_incident_stays() -> None:
    limits = Thresholds(interval_s=30.0)
    state, _ = play("SFF", limits)
    assert state.last is not None
    record = to_record(state, state.last, IDENTITY)

    later = restore(record, limits, state.last.at + timedelta(hours=1))

    assert later.incident is not None
    assert later.incident.id == record.incident_id
    assert later.incident.first_failed_at == START + timedelta(seconds=2)
    assert (later.health, later.failures) == (Health.SUSPECT, 0)

"""What votes amount to."""

from __future__ import annotations

from datetime import timedelta

import pytest
from health_probe.hysteresis import Health
from health_probe.quorum import Outcome, Sighting, ballot_of, outcome_of, patience_s, quorum_since
from health_probe.records import HealthRecord
from hypothesis import given
from hypothesis import strategies as st
from yaoki.events.probe import Ballot, FailureType, ProbeResult, ProbeStatus

from .station import START, THRESHOLDS

ballots = st.lists(st.sampled_from(list(Ballot)), min_size=1, max_size=7)
cases = ballots.flatmap(lambda votes: st.tuples(st.just(votes), st.integers(1, len(votes))))


def view(state: str, status: ProbeStatus, *, failures: int = 0, incident: str | None = None) -> HealthRecord:
    result = ProbeResult(status=status, at=START, response_ms=1.0)
    return HealthRecord(
        target="db",
        kind="tcp",
        region="local",
        vantage="tokyo",
        failure_type=FailureType.NETWORK_PARTITION,
        state=state,
        since=START,
        checked_at=START,
        last=result,
        failures=failures,
        incident_id=incident,
    )


@given(cases)
def test_failed_needs_a_quorum_of_votes_for_it_and_well_makes_one_impossible(case: tuple[list[Ballot], int]) -> None:
    votes, quorum = case
    outcome = outcome_of(votes, quorum)

    assert (outcome is Outcome.FAILED) == (votes.count(Ballot.FAILED) >= quorum)
    worst = [Ballot.FAILED if vote is not Ballot.WELL else vote for vote in votes]
    assert (outcome is Outcome.WELL) == (outcome_of(worst, quorum) is not Outcome.FAILED)


@given(cases, st.integers(0, 6))
def test_a_vantage_that_falls_silent_turns_nothing_into_a_failure_or_a_clearing(
    case: tuple[list[Ballot], int], silent: int
) -> None:
    votes, quorum = case
    fewer = [Ballot.UNKNOWN if at == silent else vote for at, vote in enumerate(votes)]
    assert outcome_of(fewer, quorum) in (outcome_of(votes, quorum), Outcome.UNDECIDED)


@given(cases, st.randoms(use_true_random=False))
def test_the_order_of_vantages_does_not_matter(case: tuple[list[Ballot], int], random: object) -> None:
    votes, quorum = case
    shuffled = list(votes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    assert outcome_of(shuffled, quorum) is outcome_of(votes, quorum)


@pytest.mark.parametrize(
    ("seen", "ballot"),
    [
        (None, Ballot.UNKNOWN),
        (view("healthy", ProbeStatus.HEALTHY), Ballot.WELL),
        (view("healthy", ProbeStatus.DEGRADED), Ballot.WELL),
        (view("healthy", ProbeStatus.UNKNOWN), Ballot.UNKNOWN),
        (view("unknown", ProbeStatus.HEALTHY), Ballot.UNKNOWN),
        (view("suspect", ProbeStatus.UNHEALTHY, failures=1), Ballot.SUSPECT),
        (view("suspect", ProbeStatus.HEALTHY), Ballot.RECOVERING),
        (view("failed", ProbeStatus.UNHEALTHY, failures=2), Ballot.FAILED),
        (view("failed", ProbeStatus.UNHEALTHY, failures=1), Ballot.SUSPECT),
        (view("failed", ProbeStatus.HEALTHY), Ballot.RECOVERING),
        (view("failed", ProbeStatus.UNKNOWN, failures=5), Ballot.UNKNOWN),
        (view("flapping", ProbeStatus.UNHEALTHY, failures=5), Ballot.FLAPPING),
        (view("of a later release", ProbeStatus.HEALTHY), Ballot.UNKNOWN),
    ],
)
def test_what_a_view_counts_for(seen: HealthRecord | None, ballot: Ballot) -> None:
    assert ballot_of(Sighting(vantage="tokyo", view=seen), THRESHOLDS, 1.0) is ballot


@given(st.sampled_from(list(Health)), st.sampled_from(list(ProbeStatus)), st.integers(0, 9))
def test_an_old_view_counts_for_nothing(state: Health, status: ProbeStatus, failures: int) -> None:
    old = view(state, status, failures=failures)
    limit = patience_s(old, THRESHOLDS, 1.0)
    assert ballot_of(Sighting(vantage="tokyo", view=old, age_s=limit * 1.01), THRESHOLDS, 1.0) is Ballot.UNKNOWN


def test_a_view_in_an_incident_grows_old_at_the_pace_of_suspicion() -> None:
    thresholds = THRESHOLDS.__class__(interval_s=30.0, suspect_interval_s=5.0)
    assert patience_s(view("healthy", ProbeStatus.HEALTHY), thresholds, 5.0) == 95.0
    assert patience_s(view("failed", ProbeStatus.UNHEALTHY, incident="i"), thresholds, 5.0) == 20.0


def test_a_quorum_agrees_since_the_last_of_it_came() -> None:
    moments = [START + timedelta(seconds=second) for second in (9, 1, 4)]
    assert quorum_since(moments, 2) == START + timedelta(seconds=4)
    with pytest.raises(ValueError, match="3 vantages agree, 4 have to"):
        quorum_since(moments, 4)

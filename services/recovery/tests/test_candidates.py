"""Which standby may become the primary: the invariant over every snapshot, and the cases that people ask about."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recovery.candidates import Candidate, NoCandidate, Snapshot, choose_candidate, choose_replica

from .builders import status

if TYPE_CHECKING:
    from yaoki.commands.agent import AgentStatus

LIMIT = 100
NAMES = ("pg-b", "pg-c", "pg-d", "pg-e")


def snapshot(*statuses: AgentStatus, **changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "holder": "pg-a",
        "timeline": 1,
        "position": 1000,
        "others": frozenset(NAMES),
        "promotable": frozenset(NAMES),
        "statuses": statuses,
        "synchronous": frozenset(),
        "required": 0,
        "max_lag_bytes": LIMIT,
    }
    return Snapshot(**{**values, **changes})


def agent_statuses() -> st.SearchStrategy[list[AgentStatus]]:
    one = st.builds(
        status,
        st.sampled_from(("pg-a", *NAMES)),
        running=st.booleans(),
        accepting=st.booleans(),
        role=st.sampled_from(("standby", "standby", "standby", "primary", "unknown")),
        timeline=st.integers(1, 3),
        received=st.integers(850, 1010),
        replayed=st.integers(850, 1010),
        granted_s=st.sampled_from((0.0, 0.0, 0.0, 2.0)),
    )
    return st.lists(one, max_size=5, unique_by=lambda found: found.member)


@settings(max_examples=600, deadline=None)
@given(
    statuses=agent_statuses(),
    timeline=st.integers(1, 2),
    promotable=st.frozensets(st.sampled_from(NAMES)),
    synchronous=st.frozensets(st.sampled_from(NAMES)),
    required=st.integers(0, 3),
)
def test_whatever_is_chosen_keeps_the_invariant(
    statuses: list[AgentStatus],
    timeline: int,
    promotable: frozenset[str],
    synchronous: frozenset[str],
    required: int,
) -> None:
    required = min(required, len(synchronous))
    taken = snapshot(*statuses, timeline=timeline, promotable=promotable, synchronous=synchronous, required=required)

    choice = choose_candidate(taken)

    if isinstance(choice, NoCandidate):
        assert choice.reason
        return
    chosen = next(found for found in statuses if found.member == choice.member)
    assert choice.member != "pg-a"
    assert choice.member in promotable
    assert chosen.running
    assert chosen.accepting
    assert chosen.role == "standby"
    assert chosen.granted_s == 0
    assert chosen.timeline >= timeline
    assert 1000 - max(chosen.received, chosen.replayed) <= LIMIT
    assert not [one for one in statuses if one.member != "pg-a" and one.running and one.role == "primary"]
    standbys = [one for one in statuses if one.member != "pg-a" and one.running and one.role == "standby"]
    assert all(one.timeline <= chosen.timeline for one in standbys)
    _assert_every_acknowledged_commit_is_on(choice, standbys, synchronous, required)


def _assert_every_acknowledged_commit_is_on(
    choice: Candidate, standbys: list[AgentStatus], synchronous: frozenset[str], required: int
) -> None:
    """Model: try every set of `required` synchronous members that may have acknowledged the newest commit."""
    places = {one.member: (one.timeline, max(one.received, one.replayed)) for one in standbys}
    for acknowledging in combinations(sorted(synchronous), required) if required else ():
        known = [places[name] for name in acknowledging if name in places]
        assert known, f"{acknowledging} are all silent, yet {choice.member} was chosen"
        # The commit lies at most at the least advanced of those that acknowledged it.
        assert places[choice.member] >= min(known)


def test_the_furthest_standby_on_the_newest_timeline_is_chosen() -> None:
    choice = choose_candidate(
        snapshot(
            status("pg-b", timeline=2, received=950),
            status("pg-c", timeline=2, received=990, replayed=980),
            status("pg-d", timeline=1, received=1000),
        )
    )

    assert isinstance(choice, Candidate)
    assert (choice.member, choice.lag_bytes, choice.followers) == ("pg-b", 0, ("pg-c", "pg-d"))


def test_replayed_counts_when_received_began_again_at_a_segment() -> None:
    choice = choose_candidate(snapshot(status("pg-b", received=0, replayed=1000)))

    assert isinstance(choice, Candidate)
    assert choice.position == 1000


@pytest.mark.parametrize(
    ("statuses", "changes", "reason", "may_pass"),
    [
        ((), {}, "no standby answers", True),
        ((status("pg-b", received=800, replayed=800),), {}, "lacks 200 bytes of WAL, the limit is 100", False),
        ((status("pg-b"),), {"timeline": 2}, "older than the primary's 2", False),
        ((status("pg-b", granted_s=1.5),), {}, "has granted the holder 1.5 s more", True),
        ((status("pg-b", accepting=False),), {}, "accepts no connection", True),
        ((status("pg-b"), status("pg-c", role="primary")), {}, "pg-c is a primary already", False),
        ((status("pg-b"),), {"promotable": frozenset({"pg-c"})}, "configured not to be promoted", False),
        (
            (status("pg-b"),),
            {"synchronous": frozenset({"pg-b", "pg-c"}), "required": 1},
            "1 of 2 synchronous standbys answer, 2 must",
            True,
        ),
        ((status("pg-a"),), {}, "no standby answers", True),
    ],
)
def test_nobody_is_chosen_and_the_reason_is_said(
    statuses: tuple[AgentStatus, ...], changes: dict[str, Any], reason: str, *, may_pass: bool
) -> None:
    choice = choose_candidate(snapshot(*statuses, **changes))

    assert isinstance(choice, NoCandidate)
    assert reason in choice.reason
    assert choice.may_pass is may_pass


def test_a_promotable_standby_behind_an_unpromotable_one_is_refused_when_commits_may_be_missing() -> None:
    choice = choose_candidate(
        snapshot(
            status("pg-b", received=990, replayed=990),
            status("pg-c", received=1000),
            promotable=frozenset({"pg-b"}),
            synchronous=frozenset({"pg-b", "pg-c"}),
            required=1,
        )
    )

    assert isinstance(choice, NoCandidate)
    assert "pg-b may lack acknowledged commits" in choice.reason


def test_redis_takes_the_replica_with_most_and_never_the_old_master() -> None:
    answers = (
        status("redis-a", role="primary", received=500),
        status("redis-b", received=300),
        status("redis-c", received=400),
        status("redis-d", received=450, accepting=False),
    )

    choice = choose_replica("redis-a", frozenset({"redis-a", "redis-b", "redis-c", "redis-d"}), answers)

    assert not isinstance(choice, NoCandidate)
    assert choice.member == "redis-c"
    assert isinstance(choose_replica("redis-a", frozenset(), answers), NoCandidate)

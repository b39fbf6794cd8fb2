"""Which way back is safe, whatever is seen of a cluster that was left without a route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recovery.candidates import Candidate, NoCandidate
from recovery.restoration import Abandoned, NoWay, Way, pause_after, restoration_plan, way_back
from yaoki.plans import StepKind
from yaoki.runs.plan_check import check_plan

from .builders import config, record, status

if TYPE_CHECKING:
    from yaoki.commands.agent import AgentStatus

CANDIDATE = Candidate(member="pg-c", agent="agent-pg-c", timeline=1, position=1000, lag_bytes=0, followers=())
NOBODY = NoCandidate(reason="no standby answers")


def primary(**changes: Any) -> AgentStatus:
    """The holder serves."""
    return status(**{"member": "pg-a", "role": "primary", "holder": True, **changes})


def seen(**changes: Any) -> Abandoned:
    """pg-a held the lease, nothing answers."""
    return Abandoned(**{"record": record(), "previous": "pg-a", "holder": None, "choice": NOBODY, **changes})


statuses = st.none() | st.builds(
    primary,
    member=st.sampled_from(("pg-a", "pg-b")),
    role=st.sampled_from(("primary", "standby", "unknown")),
    holder=st.booleans(),
    accepting=st.booleans(),
)
everything = st.builds(
    seen,
    record=st.builds(record, holder=st.sampled_from(("", "pg-a", "pg-b")), revoked_by=st.sampled_from(("", "run-1"))),
    previous=st.sampled_from(("", "pg-a", "pg-b")),
    holder=statuses,
    choice=st.sampled_from((CANDIDATE, NOBODY)),
)


@given(situation=everything)
def test_nobody_else_is_promoted_once_a_candidate_has_claimed_the_lease(situation: Abandoned) -> None:
    way = way_back(situation)
    if way is Way.FAIL_OVER:
        assert situation.record.holder == situation.previous
        assert isinstance(situation.choice, Candidate)


@given(situation=everything)
def test_a_lease_is_given_back_only_to_whom_it_was_taken_from_and_only_if_its_agent_answers(
    situation: Abandoned,
) -> None:
    way = way_back(situation)
    if way is Way.REINSTATE_HOLDER:
        assert situation.record.revoked_by
        assert situation.holder is not None
    if way is Way.SERVE_HOLDER:
        assert not situation.record.revoked_by
        assert situation.holder is not None
        assert situation.holder.accepting
        assert situation.holder.member == situation.record.holder


def test_a_primary_that_does_not_hold_the_lease_is_not_served_from() -> None:
    assert isinstance(way_back(seen(holder=primary(holder=False))), NoWay)
    assert way_back(seen(holder=primary())) is Way.SERVE_HOLDER


def test_a_candidate_that_holds_the_lease_and_is_away_is_waited_for() -> None:
    """What it may have acknowledged is on nobody else, however well the others are."""
    way = way_back(seen(record=record(holder="pg-b"), choice=CANDIDATE))

    assert isinstance(way, NoWay)
    assert "its agent has to come back" in way.reason


def test_an_old_primary_that_is_gone_is_replaced_as_soon_as_a_standby_may_be() -> None:
    assert way_back(seen(choice=CANDIDATE)) is Way.FAIL_OVER
    assert way_back(seen(record=record(revoked_by="run-1"), choice=CANDIDATE)) is Way.FAIL_OVER


def test_the_old_primary_goes_before_a_standby() -> None:
    """It lacks nothing."""
    situation = seen(
        record=record(revoked_by="run-1"), holder=primary(role="unknown", accepting=False), choice=CANDIDATE
    )

    assert way_back(situation) is Way.REINSTATE_HOLDER


@pytest.mark.parametrize("way", list(Way))
def test_every_plan_is_one_that_the_executor_accepts(way: Way) -> None:
    settings = config(members=("pg-a", "pg-b", "pg-c")).postgres_clusters["orders"]
    situation = seen(record=record(revoked_by="run-1"))

    plan = restoration_plan(way, situation, settings, verify=None, lag_bytes=7)

    check_plan(plan, {})
    steps = [step.id for branch in plan.branches for step in branch.steps]
    assert steps.index("promote") < steps.index("prove-writable") < steps.index("publish-route")
    assert [step.id for branch in plan.branches for step in branch.steps if step.kind is StepKind.PIVOT] == ["promote"]


def test_pauses_grow_to_five_minutes() -> None:
    pauses = [pause_after(attempts) for attempts in range(1, 40)]

    assert pauses == sorted(pauses)
    assert pauses[0] == 5.0
    assert pauses[-1] == 300.0

"""What people may order of a run, and what they are told when they may not."""

from __future__ import annotations

import msgspec
import pytest
from yaoki.errors import ErrorCode, RejectedError
from yaoki.events.runs import Intervention
from yaoki.plans import Branch
from yaoki.runs import Steering
from yaoki.runs.steering import check_steering

from .desk import Desk
from .plans import chain, one, step


def refusal(desk: Desk, intervention: Intervention, **more: str) -> RejectedError:
    """What a person is told."""
    with pytest.raises(RejectedError) as refused:
        check_steering(desk.state, msgspec.structs.replace(Steering(intervention=intervention, by="alice"), **more))
    return refused.value


def running() -> Desk:
    """`a` is done, `b` is next."""
    desk = Desk(one(step("a"), step("b")))
    desk.play(until="a.do.1")
    return desk


@pytest.mark.parametrize("intervention", [Intervention.SKIP, Intervention.MARK_DONE])
@pytest.mark.parametrize("comment", ["", "  "])
def test_what_passes_a_step_over_needs_a_comment(intervention: Intervention, comment: str) -> None:
    """Somebody will ask why."""
    assert "comment" in refusal(running(), intervention, step="b", comment=comment).message


def test_a_person_has_a_name() -> None:
    """It stands in the journal for ever."""
    assert "'by' is empty" in refusal(running(), Intervention.PAUSE, by="").message


def test_an_unknown_step_is_answered_with_those_that_there_are() -> None:
    """So that the next try is right."""
    message = refusal(running(), Intervention.SKIP, step="x", comment="c").message

    assert all(name in message for name in ("'x'", "a, b", "goal"))


@pytest.mark.parametrize("intervention", [Intervention.SKIP, Intervention.MARK_DONE, Intervention.RETRY])
def test_a_step_that_succeeded_stays_as_it_is(intervention: Intervention) -> None:
    """Doing it again would be another effect; skipping it would deny one."""
    error = refusal(running(), intervention, step="a", comment="c")

    assert error.code is ErrorCode.NOT_ALLOWED
    assert "succeeded already" in error.message


@pytest.mark.parametrize("intervention", list(Intervention))
def test_a_run_that_is_over_takes_no_orders(intervention: Intervention) -> None:
    """Its last entry is the last."""
    desk = running()
    desk.play()

    assert "the run is over (completed)" in refusal(desk, intervention, step="b", comment="c").message


@pytest.mark.parametrize("intervention", [Intervention.SKIP, Intervention.MARK_DONE, Intervention.RETRY])
def test_a_branch_that_is_compensated_goes_forward_no_more(intervention: Intervention) -> None:
    """Not by a person either."""
    desk = Desk(one(step("a"), step("b"), step("c")), b__do="failed")
    desk.play(until="b.undo.1")

    assert "compensated" in refusal(desk, intervention, step="c", comment="c").message


def test_a_branch_that_is_over_is_not_taken_up_again() -> None:
    """The next one is on its way."""
    plan = chain(Branch(name="one", steps=(step("a"),)), Branch(name="two", steps=(step("b"), step("c"))))
    desk = Desk(plan, a__do="refused")
    desk.play(until="b.do.1")

    assert "is over" in refusal(desk, Intervention.RETRY, step="a").message


def test_only_a_paused_run_is_resumed_and_only_a_running_one_paused() -> None:
    """And nobody aborts twice."""
    desk = running()
    assert "not paused" in refusal(desk, Intervention.RESUME).message
    desk.steer(Intervention.PAUSE)
    assert "paused already" in refusal(desk, Intervention.PAUSE).message
    desk.steer(Intervention.ABORT)
    assert "alice aborted it already" in refusal(desk, Intervention.ABORT).message


@pytest.mark.parametrize(
    ("intervention", "name"),
    [
        (Intervention.PAUSE, ""),
        (Intervention.ABORT, ""),
        (Intervention.SKIP, "b"),
        (Intervention.MARK_DONE, "b"),
        (Intervention.RETRY, "b"),
        (Intervention.SKIP, "goal"),
    ],
)
def test_what_makes_sense_is_allowed(intervention: Intervention, name: str) -> None:
    """Of a run whose step `b` is next."""
    check_steering(running().state, Steering(intervention=intervention, step=name, by="alice", comment="because"))

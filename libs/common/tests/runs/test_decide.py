"""What a run does next, in words: `<step>.<phase>.<number> <status>`."""

from __future__ import annotations

from datetime import timedelta

import pytest
from yaoki.events.runs import Ending
from yaoki.plans import Branch, OutcomeStatus, Step
from yaoki.runs.decide import decide
from yaoki.runs.decisions import CarryOn, StartOrder
from yaoki.runs.fold import fold

from .desk import Desk
from .plans import call, chain, one, step

A, B, C = step("a"), step("b"), step("c")


def test_steps_are_ordered_one_after_the_other() -> None:
    """The next intent is written when the outcome before it is."""
    assert Desk(one(A, B)).play() == ["a.do.1 succeeded", "b.do.1 succeeded", "end completed"]


def test_neighbours_of_a_group_are_ordered_at_the_same_time() -> None:
    """And what comes after the group waits for all of them."""
    desk = Desk(one(step("a", group="g"), step("b", group="g"), step("c")))

    assert [intent.step for intent in desk.begin_orders()] == ["a", "b"]
    assert all(isinstance(decision, CarryOn) for decision in desk.decide())


def test_a_group_with_a_failed_step_lets_the_others_finish_before_it_is_compensated() -> None:
    """Nothing of the branch may be in progress when its compensation begins."""
    desk = Desk(one(step("a", group="g"), step("b", group="g")), a__do="failed")
    first, _ = desk.begin_orders()
    desk.finish(first)

    (decision,) = desk.decide()
    assert isinstance(decision, CarryOn)
    assert decision.order.intent.step == "b"
    assert desk.play() == ["b.do.1 succeeded", "b.undo.1 succeeded", "a.undo.1 succeeded", "end rolled_back"]


def test_a_failed_step_is_compensated_with_those_before_it_in_reverse() -> None:
    """It may have happened in part."""
    assert Desk(one(A, B, C), c__do="failed").play()[3:] == [
        "c.undo.1 succeeded",
        "b.undo.1 succeeded",
        "a.undo.1 succeeded",
        "end rolled_back",
    ]


@pytest.mark.parametrize("status", ["refused", "cancelled", "skipped"])
def test_a_step_that_did_nothing_is_not_compensated(status: str) -> None:
    """Undoing what never happened may undo somebody else's work."""
    said = Desk(one(A, B), b__do=status).play()

    assert "b.undo.1 succeeded" not in said
    assert said[-2:] == ["a.undo.1 succeeded", "end rolled_back"]


def test_a_step_of_unknown_outcome_is_settled_and_compensated() -> None:
    """Its worker first acknowledges that it will not begin any more."""
    desk = Desk(one(A, B), b__do="unknown")
    desk.play(until="b.do.1")

    (decision,) = desk.decide()
    assert isinstance(decision, StartOrder)
    assert (decision.step, decision.phase) == ("b", "undo")
    assert [order.intent.command_id for order in decision.settle] == ["run-1.main.b.do.1"]
    assert desk.play()[-3:] == ["b.undo.1 succeeded", "a.undo.1 succeeded", "end rolled_back"]


def test_a_step_is_tried_as_often_as_it_may_be_with_its_pause() -> None:
    """Each attempt is a new order."""
    desk = Desk(one(step("a", attempts=3, retry_delay_s=2.0)), a__do=["failed", "unknown", "succeeded"])

    assert desk.play() == [
        "a.do.1 failed",
        "wait 2",
        "a.do.2 unknown",
        "wait 2",
        "a.do.3 succeeded",
        "end completed",
    ]


def test_an_order_that_expired_before_it_began_costs_no_attempt() -> None:
    """The executor was away; the step has not been tried."""
    desk = Desk(one(step("a", attempts=1)), a__do=[("refused", "expired"), ("cancelled", "expired"), "succeeded"])

    assert desk.play() == ["a.do.1 refused", "a.do.2 cancelled", "a.do.3 succeeded", "end completed"]


def test_a_worker_whose_clock_is_ahead_is_given_up_in_the_end() -> None:
    """Or a run would order the same for ever."""
    said = Desk(one(step("a")), a__do=("refused", "expired")).play()

    assert said == [f"a.do.{number} refused" for number in range(1, 6)] + ["end rolled_back"]


def test_a_step_has_succeeded_only_when_its_check_has() -> None:
    """A check that fails costs the attempt."""
    desk = Desk(
        one(Step(id="a", do=call(), verify=call(), attempts=2, retry_delay_s=0)), a__verify=["failed", "succeeded"]
    )

    assert desk.play() == [
        "a.do.1 succeeded",
        "a.verify.1 failed",
        "a.do.2 succeeded",
        "a.verify.2 succeeded",
        "end completed",
    ]


def test_a_check_that_never_began_is_ordered_again_without_repeating_the_step() -> None:
    """The step was done; only nobody looked."""
    desk = Desk(one(Step(id="a", do=call(), verify=call())), a__verify=[("cancelled", "expired"), "succeeded"])

    assert desk.play() == ["a.do.1 succeeded", "a.verify.1 cancelled", "a.verify.2 succeeded", "end completed"]


@pytest.mark.parametrize("status", ["failed", "refused", "skipped", "unknown"])
def test_an_optional_step_may_fail(status: str) -> None:
    """The run goes on, and ends as completed."""
    said = Desk(one(A, step("b", required=False), C), b__do=status).play()

    assert said == ["a.do.1 succeeded", f"b.do.1 {status}", "c.do.1 succeeded", "end completed"]


def test_a_skipped_first_step_costs_no_delay_before_the_next_branch() -> None:
    """The branch did not apply; nothing has to settle."""
    plan = chain(Branch(name="one", steps=(A,)), Branch(name="two", steps=(B,), delay_s=30))

    assert Desk(plan, a__do="skipped").play() == ["a.do.1 skipped", "b.do.1 succeeded", "end completed"]


def test_a_skipped_required_step_is_not_tried_again() -> None:
    """Its precondition fails at once, however many attempts it has."""
    assert Desk(one(step("a", attempts=5)), a__do="skipped").play() == ["a.do.1 skipped", "end rolled_back"]


def test_a_failed_branch_is_compensated_and_the_next_is_tried_after_its_delay() -> None:
    """Counted from the last thing that happened in the failed one."""
    plan = chain(Branch(name="one", steps=(A,)), Branch(name="two", steps=(B,), delay_s=30))

    assert Desk(plan, a__do="failed").play() == [
        "a.do.1 failed",
        "a.undo.1 succeeded",
        "wait 30",
        "b.do.1 succeeded",
        "end completed",
    ]


def test_the_first_branch_that_reaches_the_goal_ends_the_run() -> None:
    """Later branches are not touched."""
    plan = chain(Branch(name="one", steps=(A,), verify=call()), Branch(name="two", steps=(B,)))

    assert Desk(plan).play() == ["a.do.1 succeeded", "goal.verify.1 succeeded", "end completed"]


def test_the_goal_is_checked_again_until_its_time_is_over() -> None:
    """With growing pauses; then the branch has failed and is compensated."""
    desk = Desk(one(A, verify=call(), verify_timeout_s=2.0), goal__verify="failed")
    said = desk.play()

    assert said[:6] == [
        "a.do.1 succeeded",
        "goal.verify.1 failed",
        "wait 0.1",
        "goal.verify.2 failed",
        "wait 0.2",
        "goal.verify.3 failed",
    ]
    assert said[-2:] == ["a.undo.1 succeeded", "end rolled_back"]
    assert desk.now - desk.entries[0].at < timedelta(seconds=4)


def test_a_new_leader_checks_the_goal_once_more_however_late_it_is() -> None:
    """While nobody drove the run nobody looked."""
    desk = Desk(one(A, verify=call(), verify_timeout_s=2.0), goal__verify=["failed", "succeeded"])
    desk.play(until="goal.verify.1")
    desk.now += timedelta(hours=1)
    desk.lead("instance-2")

    assert desk.play() == ["goal.verify.2 succeeded", "end completed"]


def test_a_plan_of_alternatives_that_all_fail_is_exhausted_after_its_last_steps() -> None:
    """Failures of these are passed over."""
    plan = chain(
        Branch(name="one", steps=(A,)),
        Branch(name="two", steps=(B,)),
        on_exhausted=(step("page", undo=None), step("maintenance", undo=None)),
    )

    said = Desk(plan, a__do="refused", b__do="refused", page__do="failed").play()
    assert said[-3:] == ["page.do.1 failed", "maintenance.do.1 succeeded", "end exhausted"]


def test_a_single_branch_whose_goal_is_not_proven_and_that_undid_nothing_says_so() -> None:
    """`verification_failed` is neither rolled back nor completed."""
    plan = one(step("a", undo=None), verify=call(), verify_timeout_s=0.5)

    assert Desk(plan, goal__verify="failed").play()[-1] == "end verification_failed"


def test_a_late_success_in_a_failed_branch_is_undone_before_the_next_goes_on() -> None:
    """Or both ways to the goal would be taken at once."""
    plan = chain(Branch(name="one", steps=(A,)), Branch(name="two", steps=(B, C)))
    desk = Desk(plan, a__do="unknown")
    desk.play(until="b.do.1")
    desk.late("a.do.1", OutcomeStatus.SUCCEEDED)

    assert desk.play() == ["a.undo.2 succeeded", "c.do.1 succeeded", "end completed"]


def test_nothing_is_decided_for_a_finished_run() -> None:
    """Its last entry is the last."""
    desk = Desk(one(A))
    desk.play()

    assert desk.state.ending is Ending.COMPLETED
    assert desk.decide() == ()


def test_what_is_decided_depends_on_the_journal_alone() -> None:
    """Another instance that reads the same entries decides the same, at every index."""
    desk = Desk(one(A, step("b", attempts=2), C, verify=call()), b__do=["unknown", "failed"])
    desk.play()

    for length in range(1, len(desk.entries) + 1):
        one_state, other_state = fold(desk.entries[:length]), fold(desk.entries[:length])
        assert one_state is not None
        assert other_state is not None
        assert repr(decide(one_state, desk.now)) == repr(decide(other_state, desk.now))

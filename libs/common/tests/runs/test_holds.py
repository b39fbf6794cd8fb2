"""Disruptive branches wait while a hold is on the run; everything else goes on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yaoki.errors import RejectedError
from yaoki.events.runs import BranchDeferred, Intervention
from yaoki.plans import Branch, Plan
from yaoki.runs import Hold, JournalDamagedError, Steering
from yaoki.runs.decisions import Defer, StartOrder, WaitUntil
from yaoki.runs.fold import fold
from yaoki.runs.steering import check_steering
from yaoki.runs.views import view

from .desk import BEGINNING, Desk
from .plans import RUN, call, chain, step

WINDOW = Hold(name="window-1", reason="window-1 is open", until=BEGINNING + timedelta(seconds=3))


def branch(name: str, *, disruptive: bool = False, if_deferred: bool = False, delay_s: float = 0.0) -> Branch:
    """One step of the same name, and a goal."""
    return Branch(
        name=name,
        steps=(step(f"do-{name}", undo=None),),
        verify=call("local"),
        verify_timeout_s=0.1,
        disruptive=disruptive,
        if_deferred=if_deferred,
        delay_s=delay_s,
    )


RESTART = chain(
    branch("look", disruptive=True, if_deferred=True),
    branch("restart", disruptive=True),
    branch("flag"),
    on_exhausted=(step("page", undo=None),),
)


def held(plan: Plan = RESTART, hold: Hold = WINDOW, **outcomes: str) -> Desk:
    """A run in an open window."""
    desk = Desk(plan, **outcomes)
    desk.hold = hold
    return desk


def orders(said: list[str]) -> list[str]:
    """Without waits."""
    return [line for line in said if not line.startswith("wait")]


def test_others_go_first_and_the_held_branch_goes_on_when_the_hold_is_over() -> None:
    desk = held(do_flag__do="failed", do_look__do="skipped")

    said = desk.play()

    assert orders(said)[:3] == ["defer look", "defer restart", "do-flag.do.1 failed"]
    assert orders(said)[3:] == [
        "do-look.do.1 skipped",
        "do-restart.do.1 succeeded",
        "goal.verify.1 succeeded",
        "end completed",
    ]
    assert desk.state.last_at >= BEGINNING + timedelta(seconds=3)


def test_a_look_after_the_wait_ends_the_run_when_nothing_is_left_to_be_repaired() -> None:
    said = held(do_flag__do="failed").play()

    assert orders(said)[-3:] == ["do-look.do.1 succeeded", "goal.verify.1 succeeded", "end completed"]
    assert not any(line.startswith("do-restart") for line in said)


def test_without_a_hold_nothing_is_put_off_and_the_look_is_passed_over() -> None:
    assert Desk(RESTART).play() == ["do-restart.do.1 succeeded", "goal.verify.1 succeeded", "end completed"]


def test_a_branch_that_worked_meanwhile_ends_the_run_without_the_held_one() -> None:
    assert orders(held().play()) == [
        "defer look",
        "defer restart",
        "do-flag.do.1 succeeded",
        "goal.verify.1 succeeded",
        "end completed",
    ]


def test_a_branch_that_has_begun_goes_on_when_a_hold_comes() -> None:
    desk = Desk(chain(Branch(name="restart", steps=(step("a"), step("b")), disruptive=True)))
    desk.play(until="a.do.1")
    desk.hold = WINDOW

    assert desk.play() == ["b.do.1 succeeded", "end completed"]


def test_nothing_is_escalated_while_something_is_held_back() -> None:
    desk = held(chain(branch("restart", disruptive=True), on_exhausted=(step("page", undo=None),)))
    desk.hold = Hold(name="unreadable", reason="who knows")

    desk.play(until="wait")

    assert desk.said == ["defer restart", "wait 1"]
    assert view(desk.state).status == "waiting"
    assert view(desk.state).reason == "restart waits: who knows"


def test_another_hold_is_written_down_once() -> None:
    desk = held(chain(branch("restart", disruptive=True), branch("move", disruptive=True)))
    desk.hold = Hold(name="window-1", reason="first")
    desk.play(until="wait")
    desk.hold = Hold(name="window-2", reason="second")
    desk.play(until="wait")

    assert desk.said == ["defer restart", "defer move", "wait 1", "defer restart", "defer move", "wait 1"]


def test_a_person_lets_it_begin_at_once() -> None:
    desk = held(hold=Hold(name="window-1", reason="for hours"), do_flag__do="failed", do_look__do="skipped")
    desk.play(until="wait 1")
    check_steering(desk.state, Steering(intervention=Intervention.RESUME, by="alice"))

    desk.steer(Intervention.RESUME)

    assert orders(desk.play())[:2] == ["do-look.do.1 skipped", "do-restart.do.1 succeeded"]
    with pytest.raises(RejectedError):
        check_steering(desk.state, Steering(intervention=Intervention.RESUME, by="alice"))


def test_resuming_a_paused_run_does_not_release_what_is_held() -> None:
    desk = held(hold=Hold(name="window-1", reason="for hours"), do_flag__do="failed")
    desk.play(until="wait 1")
    desk.steer(Intervention.PAUSE)
    desk.steer(Intervention.RESUME)

    (decision,) = desk.decide()

    assert isinstance(decision, WaitUntil)
    assert view(desk.state).status == "waiting"


def test_an_abort_ends_the_wait_and_says_why() -> None:
    desk = held(hold=Hold(name="window-1", reason="for hours"), do_flag__do="failed")
    desk.play(until="wait 1")
    desk.steer(Intervention.ABORT, comment="it is well again")

    assert desk.play() == ["end cancelled"]
    assert "it is well again" in desk.state.reason


@pytest.mark.parametrize("name", ["flag", "on-exhausted"])
def test_a_journal_that_puts_off_what_has_begun_or_cannot_be_is_damaged(name: str) -> None:
    desk = Desk(chain(branch("flag"), branch("move")))
    desk.begin_orders()

    with pytest.raises(JournalDamagedError, match="cannot be put off"):
        desk.write(BranchDeferred(run_kind="recovery", run_id=RUN, branch=name, hold="h", reason="r"))


@given(
    disruptive=st.lists(st.booleans(), min_size=1, max_size=5),
    outcomes=st.lists(st.sampled_from(["failed", "skipped", "succeeded", "refused"]), min_size=5, max_size=5),
    opens=st.integers(0, 12),
    lasts=st.integers(1, 20),
)
def test_no_disruptive_branch_begins_under_a_hold_and_none_is_forgotten(
    disruptive: list[bool], outcomes: list[str], opens: int, lasts: int
) -> None:
    """Whatever the plan, its outcomes and the moment at which the hold comes and goes; a fold sees the same."""
    plan = chain(*(branch(f"b{index}", disruptive=flag) for index, flag in enumerate(disruptive)), branch("last"))
    scripted = {f"do_b{index}__do": outcomes[index] for index in range(len(disruptive))}
    desk = Desk(plan, **scripted, do_last__do="failed")
    began: set[str] = set()
    for round_ in range(200):
        held_now = opens <= round_ < opens + lasts
        desk.hold = Hold(name="h", reason="r") if held_now else None
        for decision in desk.decide():
            if isinstance(decision, StartOrder):
                begins = decision.branch not in began
                assert not (held_now and begins and _disruptive(plan, decision.branch))
                began.add(decision.branch)
            assert not isinstance(decision, Defer) or held_now
            desk._carry_out(decision)  # noqa: SLF001 - one decision at a time, which `play` does not offer
        if desk.state.ending is not None:
            break

    again = fold(desk.entries)
    assert again == desk.state
    assert desk.state.ending is not None
    if desk.state.ending == "exhausted":
        assert began == {item.name for item in plan.branches}


def _disruptive(plan: Plan, name: str) -> bool:
    return next(known.disruptive for known in plan.branches if known.name == name)

"""The decision while a person steers, and when a step takes its runners down."""

from __future__ import annotations

from yaoki.events.runs import Intervention
from yaoki.plans import Branch, Plan, StepKind
from yaoki.runs.decide import POISONED
from yaoki.runs.decisions import CarryOn, Pause, WaitForPerson, WaitUntil

from .desk import Desk
from .plans import chain, one, step

A, B, C = step("a"), step("b"), step("c")


class TestPeople:
    """Interventions."""

    def test_a_paused_run_orders_nothing_new(self) -> None:
        """And goes on where it was when it is resumed."""
        desk = Desk(one(A, B))
        desk.play(until="a.do.1")
        desk.steer(Intervention.PAUSE)
        assert desk.decide() == (WaitForPerson(),)

        desk.steer(Intervention.RESUME)
        assert desk.play() == ["b.do.1 succeeded", "end completed"]

    def test_a_paused_run_carries_what_is_under_way_to_its_outcome(self) -> None:
        """An order cannot be unsent."""
        desk = Desk(one(A, B))
        desk.begin_orders()
        desk.steer(Intervention.PAUSE)

        assert [type(decision) for decision in desk.decide()] == [CarryOn, WaitForPerson]

    def test_an_aborted_run_withdraws_what_is_under_way_and_undoes_what_was_done(self) -> None:
        """It ends as cancelled, without `on_exhausted`: a person is there already."""
        plan = Plan(name="p", branches=(Branch(name="main", steps=(A, B)),), on_exhausted=(step("page", undo=None),))
        desk = Desk(plan, b__do="cancelled")
        desk.play(until="a.do.1")
        desk.begin_orders()
        desk.steer(Intervention.ABORT)

        (decision,) = desk.decide()
        assert isinstance(decision, CarryOn)
        assert decision.withdraw
        assert desk.play() == ["b.do.1 cancelled", "a.undo.1 succeeded", "end cancelled"]

    def test_an_abort_past_the_pivot_stops_and_undoes_nothing(self) -> None:
        """There is no way back, and it says so."""
        desk = Desk(one(step("a", kind=StepKind.PIVOT), B))
        desk.play(until="a.do.1")
        desk.steer(Intervention.ABORT)

        assert desk.play() == ["end failed_no_rollback"]

    def test_an_abort_between_branches_ends_the_run(self) -> None:
        """Not after the pause."""
        plan = chain(Branch(name="one", steps=(A,)), Branch(name="two", steps=(B,), delay_s=600))
        desk = Desk(plan, a__do="refused")
        desk.play(until="a.do.1")
        assert isinstance(desk.decide()[0], WaitUntil)
        desk.steer(Intervention.ABORT)

        assert desk.play() == ["end cancelled"]


class TestPoison:
    """A step that takes its runner down."""

    @staticmethod
    def poisoned() -> Desk:
        """A desk whose step `a` has taken down its runner as often as it may."""
        desk = Desk(one(A, B))
        desk.begin_orders()
        for number in range(POISONED):
            desk.lead(f"instance-{number + 2}")
        return desk

    def test_pauses_the_run(self) -> None:
        """Not before the third time."""
        desk = Desk(one(A, B))
        desk.begin_orders()
        for number in range(POISONED - 1):
            desk.lead(f"instance-{number + 2}")
        assert isinstance(desk.decide()[0], CarryOn)

        desk.lead("instance-9")
        (decision,) = desk.decide()
        assert isinstance(decision, Pause)
        assert "3 times" in decision.reason

    def test_is_not_carried_on_while_a_person_looks(self) -> None:
        """Carrying it on is what kills."""
        desk = self.poisoned()
        desk.play()

        assert desk.decide() == (WaitForPerson(),)

    def test_may_be_tried_again_by_a_person(self) -> None:
        """And is counted anew."""
        desk = self.poisoned()
        desk.play()
        desk.steer(Intervention.RETRY, "a")

        assert desk.play() == ["a.do.1 succeeded", "b.do.1 succeeded", "end completed"]

    def test_is_not_what_an_orderly_handover_means(self) -> None:
        """Any number of deployments may pass during one long step."""
        desk = Desk(one(A))
        desk.begin_orders()
        for number in range(10):
            desk.lead(f"instance-{number + 2}", orderly=True)

        assert isinstance(desk.decide()[0], CarryOn)

    def test_counts_only_while_the_step_has_no_outcome(self) -> None:
        """Runners that died of something else are no reason."""
        desk = Desk(one(A, B))
        desk.play(until="a.do.1")
        for number in range(10):
            desk.lead(f"instance-{number + 2}")

        assert desk.play() == ["b.do.1 succeeded", "end completed"]

"""The decision about what is undone, and about what nobody knows."""

from __future__ import annotations

import pytest
from yaoki.events.runs import Intervention
from yaoki.plans import Branch, Effect, OutcomeStatus, Step, StepKind

from .desk import Desk
from .plans import call, chain, one, step

A, B, C = step("a"), step("b"), step("c")


class TestCompensation:
    """Undoing."""

    def test_goes_on_after_one_that_fails_and_tries_harder(self) -> None:
        """The run then ends as `rollback_failed`, and says of which step."""
        desk = Desk(one(A, step("b", undo_attempts=3, retry_delay_s=1), C), c__do="failed", b__undo="failed")

        assert desk.play()[4:] == [
            "b.undo.1 failed",
            "wait 1",
            "b.undo.2 failed",
            "wait 1",
            "b.undo.3 failed",
            "a.undo.1 succeeded",
            "end rollback_failed",
        ]
        assert "b" in desk.state.reason

    def test_that_failed_ends_the_alternatives(self) -> None:
        """Another branch would begin on what the first left behind. People are told before the end."""
        plan = chain(
            Branch(name="one", steps=(step("a", undo_attempts=1),)),
            Branch(name="two", steps=(B,)),
            on_exhausted=(step("page", undo=None),),
        )

        assert Desk(plan, a__do="failed", a__undo="failed").play() == [
            "a.do.1 failed",
            "a.undo.1 failed",
            "page.do.1 succeeded",
            "end rollback_failed",
        ]

    def test_once_begun_lets_nothing_go_forward_whatever_turns_up(self) -> None:
        """Not even that the step which made it fail had succeeded."""
        desk = Desk(one(A, B, C), b__do="unknown", b__undo="failed")
        desk.play(until="b.undo.1")
        desk.late("b.do.1", OutcomeStatus.SUCCEEDED)

        assert not [said for said in desk.play() if ".do." in said]

    def test_is_due_again_for_a_success_that_became_known_after_it(self) -> None:
        """What happened late is undone late."""
        desk = Desk(one(A, B), b__do="unknown")
        desk.play(until="b.undo.1")
        desk.late("b.do.1", OutcomeStatus.SUCCEEDED)

        assert desk.play() == ["b.undo.2 succeeded", "a.undo.1 succeeded", "end rolled_back"]

    def test_is_not_due_for_forward_steps(self) -> None:
        """They are never undone."""
        plan = one(A, Step(id="b", do=call(), kind=StepKind.FORWARD), C)

        assert Desk(plan, c__do="refused").play()[-2:] == ["a.undo.1 succeeded", "end rolled_back"]


class TestPivot:
    """After the point of no return."""

    PLAN = one(A, step("b", kind=StepKind.PIVOT), C)

    @pytest.mark.parametrize("status", ["succeeded", "unknown"])
    def test_nothing_is_undone_once_it_happened_or_may_have(self, status: str) -> None:
        """Unknown is the worse case."""
        said = Desk(self.PLAN, b__do=status, c__do="failed").play()

        assert not [one for one in said if ".undo." in one]
        assert said[-1] == "end failed_no_rollback"

    @pytest.mark.parametrize("status", ["failed", "refused", "cancelled"])
    def test_everything_is_undone_when_it_is_known_not_to_have_happened(self, status: str) -> None:
        """A pivot that was tried in vain is compensated like any step."""
        assert Desk(self.PLAN, b__do=status).play()[-2:] == ["a.undo.1 succeeded", "end rolled_back"]

    def test_that_turns_out_not_to_have_happened_allows_the_rollback(self) -> None:
        """The late reply changes the decision."""
        desk = Desk(self.PLAN, b__do="unknown")
        desk.play(until="b.do.1")
        desk.late("b.do.1", OutcomeStatus.CANCELLED)

        assert desk.play() == ["a.undo.1 succeeded", "end rolled_back"]

    def test_ends_the_alternatives(self) -> None:
        """No other way is tried from beyond it; people are told."""
        plan = chain(
            Branch(name="one", steps=(step("a", kind=StepKind.PIVOT), B)),
            Branch(name="two", steps=(C,)),
            on_exhausted=(step("page", undo=None),),
        )

        assert Desk(plan, b__do="failed").play()[-2:] == ["page.do.1 succeeded", "end failed_no_rollback"]

    def test_with_an_unproven_goal_ends_as_verification_failed(self) -> None:
        """All steps worked."""
        plan = one(step("a", kind=StepKind.PIVOT), verify=call(), verify_timeout_s=0.5)

        assert Desk(plan, goal__verify="failed").play()[-1] == "end verification_failed"


class TestUnknown:
    """Orders of which nobody knows what became."""

    def test_idempotent_effects_are_tried_again(self) -> None:
        """Within the step's attempts."""
        assert Desk(one(step("a", attempts=2, retry_delay_s=0)), a__do=["unknown", "succeeded"]).play() == [
            "a.do.1 unknown",
            "a.do.2 succeeded",
            "end completed",
        ]

    def test_observable_effects_that_cannot_be_observed_are_compensated_and_not_repeated(self) -> None:
        """However many attempts there are."""
        said = Desk(one(step("a", attempts=9, effect=Effect.OBSERVABLE)), a__do="unknown").play()

        assert said == ["a.do.1 unknown", "a.undo.1 succeeded", "end rolled_back"]

    @pytest.mark.parametrize(
        ("intervention", "said"),
        [
            (Intervention.RETRY, ["a.do.2 succeeded", "b.do.1 succeeded", "end completed"]),
            (Intervention.SKIP, ["b.do.1 succeeded", "end completed_with_skips"]),
            (Intervention.MARK_DONE, ["b.do.1 succeeded", "end completed"]),
            (Intervention.ABORT, ["a.undo.1 succeeded", "end cancelled"]),
        ],
    )
    def test_effects_that_must_happen_once_are_left_to_a_person(
        self, intervention: Intervention, said: list[str]
    ) -> None:
        """Who looks, and then says what to do."""
        desk = Desk(one(step("a", attempts=3, retry_delay_s=0, effect=Effect.ONCE), B), a__do=["unknown", "succeeded"])
        assert desk.play() == ["a.do.1 unknown", "pause a"]

        desk.steer(intervention, "" if intervention is Intervention.ABORT else "a", comment="looked")
        assert desk.play() == said

    def test_a_late_success_ends_the_retries(self) -> None:
        """What is done is not done again."""
        desk = Desk(one(step("a", attempts=2, retry_delay_s=5), B), a__do="unknown")
        desk.play(until="wait")
        desk.late("a.do.1", OutcomeStatus.SUCCEEDED)

        assert desk.play() == ["b.do.1 succeeded", "end completed"]

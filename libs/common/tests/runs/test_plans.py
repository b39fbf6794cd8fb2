"""Which plans can be run, and what their references come to."""

from __future__ import annotations

from typing import Any

import pytest
from yaoki.errors import RejectedError
from yaoki.plans import Branch, Call, Plan, Step, StepKind
from yaoki.runs.references import mentions, resolve

from .desk import Desk
from .plans import call, chain, one, start, step


def mistakes(plan: Plan, **facts: Any) -> str:
    """What is said of a plan that cannot be run."""
    with pytest.raises(RejectedError) as refused:
        start(plan, facts=facts).entry()
    return refused.value.message


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(name="p", branches=()), "branches: found none"),
        (chain(Branch(name="b", steps=())), "branch 'b': found no step"),
        (one(step("a"), step("a")), "step 'a': found twice"),
        (chain(Branch(name="b", steps=(step("a"),)), Branch(name="b", steps=(step("c"),))), "branch 'b': found twice"),
        (one(step("goal")), "step 'goal': this name is reserved"),
        (one(step("run")), "step 'run': this name is reserved"),
        (chain(Branch(name="on-exhausted", steps=(step("a"),))), "branch 'on-exhausted': this name is reserved"),
        (one(step("Not.A.Token")), "'Not.A.Token' is not a valid name"),
        (one(step("x" * 65)), "65 characters, expected at most 64"),
        (one(step("a", timeout_s=0)), "timeout_s is 0"),
        (one(step("a", attempts=0)), "attempts is 0"),
        (one(step("a", undo_attempts=0)), "undo_attempts is 0"),
        (one(step("a", retry_delay_s=-1)), "retry_delay_s is -1"),
        (one(step("a"), delay_s=-1), "delay_s not below 0"),
        (one(Step(id="a", do=call(), undo=call(), kind=StepKind.FORWARD)), "a forward step is never undone"),
        (one(Step(id="a", do=Call(worker="", action="x"))), "expected a worker and an action"),
        (one(*(step(f"s{n}") for n in range(2001))), "found 2001, expected at most 2000"),
        (one(step("a", answers={"x": "y" * 600_000})), "bytes of JSON, expected at most"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_plan_that_cannot_be_run_is_refused_with_the_place_and_what_was_expected(plan: Plan, said: str) -> None:
    """Before anything is claimed or written."""
    assert said in mistakes(plan)


def test_all_mistakes_are_named_at_once() -> None:
    """Nobody likes to be told one at a time."""
    message = mistakes(one(step("a", attempts=0), step("a", timeout_s=-1), step("goal")))

    assert all(part in message for part in ("attempts is 0", "timeout_s is -1", "found twice", "reserved"))


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((step("a", answers={"x": "${b.y}"}), step("b")), "${b.y} does not name an earlier step"),
        ((step("a", answers={"x": "${a.y}"}),), "${a.y} does not name an earlier step"),
        ((step("a", group="g"), step("b", group="g", answers={"x": "${a.y}"})), "${a.y} does not name an earlier step"),
        ((step("a", answers={"x": "${run.nothing}"}),), "${run.nothing} is not a fact of the run"),
    ],
)
def test_a_reference_points_backwards(steps: tuple[Step, ...], said: str) -> None:
    """Not to itself, not forward, and not to a neighbour that runs at the same time."""
    assert said in mistakes(one(*steps), known=1)


def test_an_undo_and_a_check_may_refer_to_their_own_step() -> None:
    """Both come after it."""
    own = call(answers={"x": "${a.y}"})
    start(one(Step(id="a", do=call(), undo=own, verify=own))).entry()


class TestReferences:
    """Resolved when the order is given."""

    @staticmethod
    def resolved(params: dict[str, Any]) -> dict[str, Any]:
        """Against a run whose step `a` has answered."""
        desk = Desk(one(step("a"), step("b")))
        desk.play(until="a.do.1")
        result = {"number": 17, "none": None, "list": [1, "x"], "deep": {"er": {"est": True}}, "text": "t"}
        desk.state.orders["run-1.main.a.do.1"].result = result
        desk.state.facts["cluster"] = "orders"
        return resolve(Call(worker="w", action="x", params=params), desk.state).params

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("${a.number}", 17),
            ("${a.none}", None),
            ("${a.list}", [1, "x"]),
            ("${a.deep.er.est}", True),
            ("${a.deep}", {"er": {"est": True}}),
            ("${run.cluster}", "orders"),
            ("${run.id}", "run-1"),
            ("${run.resource}", "orders"),
            ("lag ${a.number} of ${run.cluster}", "lag 17 of orders"),
            ("list ${a.list}", 'list [1,"x"]'),
            ("no reference, $5 and {braces}", "no reference, $5 and {braces}"),
        ],
    )
    def test_alone_take_the_value_with_its_type_and_within_text_its_text(self, text: str, value: Any) -> None:
        """A number stays a number."""
        assert self.resolved({"x": text}) == {"x": value}

    def test_are_found_at_any_depth(self) -> None:
        """In lists and objects; keys are never replaced."""
        assert self.resolved({"${a.text}": [{"x": ["${a.text}"]}]}) == {"${a.text}": [{"x": ["t"]}]}

    @pytest.mark.parametrize("text", ["${a.nothing}", "${a.number.x}", "${a.deep.er.nothing}"])
    def test_to_what_is_not_there_are_refused(self, text: str) -> None:
        """With the reference in the sentence."""
        with pytest.raises(RejectedError) as refused:
            self.resolved({"x": text})
        assert text in refused.value.message

    def test_of_a_value_are_not_resolved_again(self) -> None:
        """What a worker answers cannot reach into the run."""
        assert mentions({"x": "${a.text}"}) == [("a", "text")]
        desk = Desk(one(step("a"), step("b")))
        desk.play(until="a.do.1")
        desk.state.orders["run-1.main.a.do.1"].result = {"text": "${run.id}"}

        assert resolve(Call(worker="w", action="x", params={"x": "${a.text}"}), desk.state).params == {"x": "${run.id}"}


def test_the_digest_of_a_plan_names_exactly_this_plan() -> None:
    """Approvals and reports name it."""
    plan = one(step("a"), step("b"))

    assert plan.digest() == one(step("a"), step("b")).digest()
    assert plan.digest() != one(step("b"), step("a")).digest()
    assert plan.digest() != one(step("a"), step("b", attempts=2)).digest()

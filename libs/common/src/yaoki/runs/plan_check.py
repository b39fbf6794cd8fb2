"""Is a plan one that can be run? All mistakes at once. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from yaoki.errors import RejectedError
from yaoki.plans import EXHAUSTED_BRANCH, GOAL_STEP, Call, JsonObject, Plan, Step, StepKind
from yaoki.runs.references import mentions
from yaoki.subjects import token

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_NAME = 64
_MAX_STEPS = 2000
_MAX_BYTES = 512 * 1024
_RUN_FACTS = frozenset({"id", "kind", "resource", "epoch"})


def check_plan(plan: Plan, facts: JsonObject) -> None:
    """Refuse a plan that could not be carried out to the end.

    Raises:
        RejectedError: Lists every mistake with where it is and what was expected.
    """
    mistakes = list(_mistakes(plan, facts))
    if mistakes:
        raise RejectedError(f"plan {plan.name!r} cannot be run: " + "; ".join(mistakes))


def _mistakes(plan: Plan, facts: JsonObject) -> Iterator[str]:
    if not plan.branches:
        yield "branches: found none, expected at least one"
    branches = [branch.name for branch in plan.branches]
    yield from _names("branch", branches, reserved=(EXHAUSTED_BRANCH,))
    steps = [step for branch in plan.branches for step in branch.steps] + list(plan.on_exhausted)
    yield from _names("step", [step.id for step in steps], reserved=(GOAL_STEP, "run"))
    if len(steps) > _MAX_STEPS:
        yield f"steps: found {len(steps)}, expected at most {_MAX_STEPS}"
    size = len(msgspec.json.encode(plan)) + len(msgspec.json.encode(facts))
    if size > _MAX_BYTES:
        yield f"plan and facts: {size} bytes of JSON, expected at most {_MAX_BYTES}"
    known = set(facts) | _RUN_FACTS
    for branch in plan.branches:
        if not branch.steps:
            yield f"branch {branch.name!r}: found no step, expected at least one"
        yield from _sequence(branch.steps, known)
        if branch.verify is not None:
            yield from _call(f"branch {branch.name!r} verify", branch.verify, {s.id for s in branch.steps}, known)
        if branch.verify_timeout_s <= 0 or branch.delay_s < 0:
            yield f"branch {branch.name!r}: verify_timeout_s must be above 0 and delay_s not below 0"
    yield from _sequence(plan.on_exhausted, known)


def _names(what: str, names: list[str], *, reserved: tuple[str, ...]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        try:
            token(name, what)
        except RejectedError as error:
            yield error.message
        if len(name) > _MAX_NAME:
            yield f"{what} {name!r}: {len(name)} characters, expected at most {_MAX_NAME}"
        if name in reserved:
            yield f"{what} {name!r}: this name is reserved; choose another"
        if name in seen:
            yield f"{what} {name!r}: found twice, expected once in the plan"
        seen.add(name)


def _sequence(steps: tuple[Step, ...], facts: set[str]) -> Iterator[str]:
    """References may only point backwards, and not into the group that runs at the same time."""
    before: set[str] = set()
    group: set[str] = set()
    last_group = ""
    for step in steps:
        if step.group != last_group or not step.group:
            before |= group
            group = set()
            last_group = step.group
        where = f"step {step.id!r}"
        yield from _numbers(step)
        yield from _call(f"{where} do", step.do, before, facts)
        for name, call in (("verify", step.verify), ("undo", step.undo)):
            if call is not None:
                yield from _call(f"{where} {name}", call, before | {step.id}, facts)
        if step.kind is StepKind.FORWARD and step.undo is not None:
            yield f"{where}: a forward step is never undone, expected no 'undo'"
        group.add(step.id)


def _numbers(step: Step) -> Iterator[str]:
    for name, value, least in (
        ("timeout_s", step.timeout_s, 0.001),
        ("attempts", step.attempts, 1),
        ("undo_attempts", step.undo_attempts, 1),
        ("retry_delay_s", step.retry_delay_s, 0),
    ):
        if value < least:
            yield f"step {step.id!r}: {name} is {value}, expected at least {least}"


def _call(where: str, call: Call, steps: set[str], facts: set[str]) -> Iterator[str]:
    if not call.worker or not call.action:
        yield f"{where}: expected a worker and an action, found {call.worker!r} and {call.action!r}"
    for owner, path in mentions(call):
        if owner == "run" and path.split(".")[0] not in facts:
            yield f"{where}: ${{run.{path}}} is not a fact of the run; known are: {', '.join(sorted(facts))}"
        elif owner not in ("run", *steps):
            yield f"{where}: ${{{owner}.{path}}} does not name an earlier step of the branch"

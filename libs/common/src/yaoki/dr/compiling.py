"""From a plan as it is written to the plan of a durable run. Pure."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from yaoki.disasters import OBJECTIVES, DisasterClass, Severity
from yaoki.dr.checking import APPROVE
from yaoki.dr.vocabulary import COORDINATOR
from yaoki.plans import Branch, Call, Plan, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki.disasters import Objectives
    from yaoki.dr.plan_file import CallEntry
    from yaoki.dr.reading import Placed, ReadPlan

BRANCH = "main"
_AGENT = "agent.order"
_CONFIRM = "people.confirm"


class DrPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that can be run.

    Attributes:
        answers: The class that it is for; None when only people start it.
        resource: What a run of it holds.
        version: SHA-256 of its text and of all that it includes.
        plan: What the executor is given; its `digest()` is the hash that approvals name.
        estimated_s: How long it takes when all goes well, seconds; waiting for people not included.
        approvals: Steps before which a person has to agree.
        examples: Parameters for which an example stands; it must not be run then.
        titles: By step.
    """

    name: str
    title: str
    answers: DisasterClass | None
    severity: Severity
    resource: str
    version: str
    plan: Plan
    estimated_s: float
    approvals: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    titles: dict[str, str] = {}

    @property
    def objectives(self) -> Objectives:
        """What it is held to."""
        return OBJECTIVES[self.severity]

    @property
    def steps(self) -> tuple[Step, ...]:
        """In order."""
        return self.plan.branches[0].steps


def compiled(read: ReadPlan) -> DrPlan:
    """The plan of a run; `read` has no mistakes."""
    file = read.file
    steps = tuple(step for placed in read.steps for step in _steps(placed))
    branch = Branch(
        name=BRANCH,
        steps=steps,
        verify=None if file.verify is None else _call(file.verify),
        verify_timeout_s=file.verify_timeout,
    )
    return DrPlan(
        name=file.name,
        title=file.title,
        answers=file.answers,
        severity=file.severity,
        resource=file.resource,
        version=read.version,
        plan=Plan(name=file.name, branches=(branch,)),
        estimated_s=estimated_s(steps),
        approvals=tuple(placed.step.id for placed in read.steps if placed.step.approval is not None),
        examples=read.examples,
        titles={placed.step.id: placed.step.title for placed in read.steps if placed.step.title},
    )


def estimated_s(steps: tuple[Step, ...]) -> float:
    """Steps one after the other; of those at the same time the longest."""
    groups = itertools.groupby(steps, key=lambda step: step.group or step.id)
    return sum(max(step.estimated_s or 0.0 for step in group) for _, group in groups)


def is_approval(step: Step) -> bool:
    """Whether the step waits for a person's agreement."""
    return step.id.startswith(APPROVE)


def _steps(placed: Placed) -> Iterator[Step]:
    entry = placed.step
    if entry.approval is not None:
        ask = {"ask": entry.approval.ask}
        yield Step(
            id=f"{APPROVE}{entry.id}",
            do=Call(worker=COORDINATOR, action=_CONFIRM, params=ask),
            timeout_s=entry.approval.timeout,
        )
    yield Step(
        id=entry.id,
        do=_call(entry.do),
        undo=None if entry.undo is None else _call(entry.undo),
        verify=None if entry.verify is None else _call(entry.verify),
        kind=entry.kind,
        effect=entry.effect,
        timeout_s=entry.timeout,
        attempts=entry.attempts,
        retry_delay_s=entry.retry_delay,
        undo_attempts=entry.undo_attempts,
        required=entry.required,
        group=placed.group,
        estimated_s=entry.estimated,
    )


def _call(entry: CallEntry) -> Call:
    if entry.command == _AGENT:
        params = entry.params
        return Call(worker=f"agent-{params['agent']}", action=params["action"], params=params.get("params", {}))
    return Call(worker=COORDINATOR, action=entry.command, params=entry.params)

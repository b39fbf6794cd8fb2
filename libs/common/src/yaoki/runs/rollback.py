"""Compensation of a branch, as decisions. Pure; the safety rules stand in `yaoki.runs.decide`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from yaoki.plans import Phase
from yaoki.runs.decisions import CarryOn, Decision, StartOrder, WaitUntil
from yaoki.runs.verdict import past_pivot, undo_due, undo_failed, undo_over

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.plans import Step
    from yaoki.runs.state import BranchState, RunState
    from yaoki.runs.step_state import StepState


def rolling_back(branch: BranchState) -> bool:
    """A compensation was ordered: the branch never goes forward again."""
    return branch.compensating


def pivot_of(state: RunState, branch: BranchState) -> str:
    """The last step of the branch after which nothing is undone; empty when there is none."""
    steps = branch.branch.steps
    for index in reversed(branch.pivots):
        if past_pivot(steps[index], state.step(branch.branch.name, steps[index].id)):
            return steps[index].id
    return ""


def decide_rollback(state: RunState, branch: BranchState, now: datetime) -> tuple[Decision, ...]:
    """The one compensation that is next; empty when none is left, or none is allowed past a pivot."""
    if pivot_of(state, branch):
        return ()
    for position in range(len(branch.touched) - branch.retired - 1, -1, -1):
        step = branch.branch.steps[branch.touched[position]]
        stepped = state.step(branch.branch.name, step.id)
        if stepped.undo and stepped.undo[-1].open:
            return (CarryOn(order=stepped.undo[-1], settle=tuple(stepped.unsettled)),)
        if not undo_over(step, stepped):
            return (_next_undo(branch, step, stepped, now),)
    return ()


def was_undone(state: RunState) -> tuple[bool, list[str]]:
    """Whether anything was compensated in the whole run, and the steps whose compensation failed."""
    anything = False
    errors = []
    for branch in state.branches:
        if not branch.compensating:
            continue
        for index in branch.touched:
            step = branch.branch.steps[index]
            stepped = state.step(branch.branch.name, step.id)
            anything = anything or stepped.undone
            if undo_due(step, stepped) and undo_failed(step, stepped):
                errors.append(step.id)
    return anything, errors


def _next_undo(branch: BranchState, step: Step, stepped: StepState, now: datetime) -> Decision:
    last = stepped.undo[-1] if stepped.undo else None
    if last is not None and last.began and last.ended_at is not None and not last.worked:
        again = last.ended_at + timedelta(seconds=step.retry_delay_s)
        if now < again:
            return WaitUntil(at=again)
    number = len(stepped.undo) + 1
    return StartOrder(
        branch=branch.branch.name,
        step=step.id,
        phase=Phase.UNDO,
        number=number,
        attempt=number,
        call=step.undo or step.do,
        timeout_s=step.timeout_s,
        settle=tuple(stepped.unsettled),
    )

"""What people may order of a run, and when. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from yaoki.errors import ErrorCode, RejectedError
from yaoki.events.runs import Intervention, OperatorIntervened
from yaoki.plans import GOAL_STEP, JsonObject
from yaoki.runs.fold import find_branch
from yaoki.runs.verdict import Verdict, judge

if TYPE_CHECKING:
    from yaoki.runs.state import RunState

_WITH_COMMENT = (Intervention.SKIP, Intervention.MARK_DONE)
_WITH_STEP = (Intervention.RETRY, Intervention.SKIP, Intervention.MARK_DONE)


class Steering(msgspec.Struct, frozen=True, kw_only=True):
    """A person's order to a run.

    Attributes:
        step: For retry, skip and mark-done.
        comment: Required for skip and mark-done.
        result: For mark-done: what the step would have answered.
        order_id: Give one to make a repeat harmless.
    """

    intervention: Intervention
    by: str
    step: str = ""
    comment: str = ""
    result: JsonObject = {}
    order_id: str = ""

    def event(self, state: RunState) -> OperatorIntervened:
        """The journal entry."""
        return OperatorIntervened(
            run_kind=state.run_kind,
            run_id=state.run_id,
            intervention=self.intervention,
            step=self.step,
            by=self.by,
            comment=self.comment,
            result=self.result,
        )


def check_steering(state: RunState, steering: Steering) -> None:
    """Refuse what would break a run's promises.

    Raises:
        RejectedError: Says what was ordered, how the run stands and what is possible.
    """
    kind = steering.intervention
    where = f"{kind} of run {state.run_id}"
    if not steering.by:
        raise RejectedError(f"{where}: 'by' is empty, expected the name of the person who orders it")
    if state.ending is not None:
        raise _not_allowed(f"{where}: the run is over ({state.ending}); start a new one instead")
    if kind in _WITH_COMMENT and not steering.comment.strip():
        raise RejectedError(f"{where}: 'comment' is empty, expected why the step may be passed over")
    if kind is Intervention.RESUME and not state.paused and not any(branch.waiting for branch in state.branches):
        raise _not_allowed(f"{where}: it is not paused, and nothing in it is held back")
    if kind is Intervention.PAUSE and state.paused:
        raise _not_allowed(f"{where}: it is paused already: {state.paused}")
    if kind is Intervention.ABORT and state.aborted_by:
        raise _not_allowed(f"{where}: {state.aborted_by} aborted it already")
    if kind in _WITH_STEP:
        _check_step(state, steering, where)


def _check_step(state: RunState, steering: Steering, where: str) -> None:
    branch = find_branch(state, steering.step)
    if branch is None:
        known = ", ".join(step for known in state.branches for step in known.index)
        raise RejectedError(f"{where}: there is no step {steering.step!r}; the plan has: {known}, {GOAL_STEP}")
    if branch.compensating or state.aborted_by:
        raise _not_allowed(f"{where}: branch {branch.branch.name!r} is being compensated and goes forward no more")
    position = next(index for index, known in enumerate(state.branches) if known is branch)
    if position < state.began:
        raise _not_allowed(f"{where}: branch {branch.branch.name!r} is over; step {steering.step!r} stays as it is")
    if steering.step == GOAL_STEP:
        return
    verdict = judge(branch.branch.steps[branch.index[steering.step]], state.step(branch.branch.name, steering.step))
    if verdict is Verdict.PASSED:
        raise _not_allowed(f"{where}: step {steering.step!r} has succeeded already")


def _not_allowed(message: str) -> RejectedError:
    return RejectedError(message, code=ErrorCode.NOT_ALLOWED)

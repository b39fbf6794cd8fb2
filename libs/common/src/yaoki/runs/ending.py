"""How a run ends, once nothing is left to be done in it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.events.runs import Ending
from yaoki.runs.decisions import Finish
from yaoki.runs.rollback import pivot_of, was_undone

if TYPE_CHECKING:
    from yaoki.runs.state import BranchState, RunState


def completed(state: RunState) -> Finish:
    """The goal is reached."""
    skipped = sorted(step for (_, step), stepped in state.steps.items() if stepped.skipped)
    if skipped:
        return Finish(
            ending=Ending.COMPLETED_WITH_SKIPS, reason=f"reached with steps skipped by people: {', '.join(skipped)}"
        )
    return Finish(ending=Ending.COMPLETED, reason="all steps worked and the goal was verified")


def no_other_branch(state: RunState, branch: BranchState) -> bool:
    """Past a pivot, after a failed compensation and after an abort the alternatives stay untouched."""
    return bool(state.aborted_by or pivot_of(state, branch) or was_undone(state)[1])


def unsuccessful(state: RunState) -> Finish:
    """How a run ends whose branches have all failed, or of which no other branch may be tried."""
    branch = state.branches[state.tried]
    undone, undo_errors = was_undone(state)
    pivot = pivot_of(state, branch)
    worked = branch.cursor >= len(branch.branch.steps) and not state.aborted_by
    if undo_errors:
        ending = Ending.ROLLBACK_FAILED
        reason = f"compensation failed for {', '.join(undo_errors)}; what they changed is still there"
    elif pivot:
        ending = Ending.VERIFICATION_FAILED if worked else Ending.FAILED_NO_ROLLBACK
        reason = f"branch {branch.branch.name!r} failed after its point of no return, step {pivot!r}"
    elif state.aborted_by:
        ending, reason = Ending.CANCELLED, f"aborted by {state.aborted_by}; what was done is undone"
    elif len(state.plan.branches) > 1:
        ending, reason = Ending.EXHAUSTED, "every branch of the plan failed"
    elif worked and not undone:
        ending, reason = Ending.VERIFICATION_FAILED, "all steps worked, but the goal was not verified"
    else:
        ending, reason = Ending.ROLLED_BACK, "the plan failed; what was done is undone"
    return Finish(ending=ending, reason=reason)

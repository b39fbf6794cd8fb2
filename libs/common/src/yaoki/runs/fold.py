"""The fold: a run's journal in, its state out. Deterministic, without I/O and without a clock.

An entry that contradicts those before it means that the journal is not the executor's alone, or that entries
were lost: `JournalDamagedError`, never a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.epoch import Epoch
from yaoki.events.runs import (
    BranchDeferred,
    Ending,
    Intervention,
    LateReplyRecorded,
    LeaseTaken,
    OperatorIntervened,
    RunFinished,
    RunPaused,
    RunStarted,
    StepFinished,
    StepStarted,
)
from yaoki.plans import GOAL_STEP, OutcomeStatus, Phase
from yaoki.runs.errors import JournalDamagedError
from yaoki.runs.state import BranchState, Leader, RunState, branches_of
from yaoki.runs.step_state import OrderState, StepState
from yaoki.runs.verdict import Verdict, judge, undo_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yaoki.runs.ports import Recorded


def fold(entries: Sequence[Recorded]) -> RunState | None:
    """The state after `entries`, which start with the run's first; None when there are none.

    Raises:
        JournalDamagedError: The entries are not a run's journal.
    """
    state: RunState | None = None
    for index, entry in enumerate(entries):
        try:
            if state is None:
                state = begin(entry)
            else:
                apply(state, entry)
        except JournalDamagedError as error:
            raise JournalDamagedError(error.message, last=entries[-1].sequence, sound=entries[:index]) from None
    return state


def begin(entry: Recorded) -> RunState:
    """The state after the first entry."""
    event = entry.event
    if not isinstance(event, RunStarted):
        raise JournalDamagedError(
            f"run {event.run_id}: the first entry (sequence {entry.sequence}) is {type(event).__name__}, "
            "expected RunStarted; entries before it are missing",
            last=entry.sequence,
        )
    branches = branches_of(event.plan)
    steps = {(branch.branch.name, GOAL_STEP): branch.goal for branch in branches}
    return RunState(
        run_kind=event.run_kind,
        run_id=event.run_id,
        resource=event.resource,
        plan=event.plan,
        plan_hash=event.plan_hash,
        facts=event.facts,
        incident_id=event.incident_id,
        started_by=event.started_by,
        why=event.reason,
        started_at=entry.at,
        last=entry.sequence,
        last_at=entry.at,
        branches=branches,
        steps=steps,
    )


def apply(state: RunState, entry: Recorded) -> None:
    """Bring `state` forward by one entry. Constant time, whatever the length of the run."""
    event = entry.event
    if entry.sequence <= state.last:
        raise _damaged(state, entry, f"it does not come after sequence {state.last}")
    if state.ending is not None:
        raise _damaged(state, entry, "the run was finished before it")
    match event:
        case StepStarted():
            _step_started(state, entry, event)
        case StepFinished():
            _step_finished(state, entry, event)
        case LeaseTaken():
            _lease_taken(state, entry, event)
        case LateReplyRecorded():
            _late_reply(state, entry, event)
        case OperatorIntervened():
            _intervened(state, entry, event)
        case BranchDeferred():
            _branch_deferred(state, entry, event)
        case RunPaused() | RunFinished():
            _stopped(state, event)
        case _:
            raise _damaged(state, entry, f"a {type(event).__name__} cannot stand there")
    state.last = entry.sequence
    state.last_at = entry.at


def _lease_taken(state: RunState, entry: Recorded, event: LeaseTaken) -> None:
    state.leader = Leader(instance=event.instance, epoch=Epoch(event.incarnation, entry.sequence))
    if not event.orderly:
        for order in state.open_orders.values():
            order.takeovers += 1


def _step_started(state: RunState, entry: Recorded, event: StepStarted) -> None:
    if event.epoch != state.epoch:
        raise _damaged(state, entry, f"its epoch {event.epoch} is not the leader's {state.epoch}")
    if event.command_id in state.orders:
        raise _damaged(state, entry, f"command {event.command_id} was ordered before")
    branch = _branch(state, entry, event.branch)
    if event.step not in branch.index and (event.step, event.phase) != (GOAL_STEP, Phase.VERIFY):
        raise _damaged(state, entry, f"the plan has no step {event.step!r} in branch {event.branch!r}")
    step = state.steps.setdefault((event.branch, event.step), StepState())
    order = OrderState(intent=event, started_at=entry.at, changed=entry.sequence)
    if event.phase is Phase.DO and not step.do:
        branch.touched.append(branch.index[event.step])
    step.orders(event.phase).append(order)
    state.orders[event.command_id] = order
    state.open_orders[event.command_id] = order
    index = next(index for index, known in enumerate(state.branches) if known is branch)
    state.began = max(state.began, index)
    if index < len(state.plan.branches):
        state.tried = max(state.tried, index)
    branch.compensating = branch.compensating or event.phase is Phase.UNDO
    branch.last_at = entry.at


def _step_finished(state: RunState, entry: Recorded, event: StepFinished) -> None:
    order = state.open_orders.pop(event.command_id, None)
    if order is None:
        raise _damaged(state, entry, f"no open intent has the command id {event.command_id}")
    order.status = event.status
    order.settled = event.status.final
    if not order.settled:
        state.unknown[event.command_id] = order
    order.result = event.result
    order.error_code = event.error_code
    order.error = event.error
    order.duration_s = event.duration_s
    order.ended_at = entry.at
    order.changed = entry.sequence
    branch = _branch(state, entry, order.intent.branch)
    branch.last_at = entry.at
    _advance(state, branch)
    _retire(state, branch, anew=order.intent.phase is not Phase.UNDO)


def _late_reply(state: RunState, entry: Recorded, event: LateReplyRecorded) -> None:
    order = state.orders.get(event.command_id)
    if order is None or order.open:
        raise _damaged(state, entry, f"the command {event.command_id} has no recorded outcome to correct")
    order.settled = True
    state.unknown.pop(event.command_id, None)
    order.changed = entry.sequence
    if event.status is not OutcomeStatus.UNKNOWN:
        order.status = event.status
        order.result = event.result
    branch = _branch(state, entry, order.intent.branch)
    _advance(state, branch)
    _retire(state, branch, anew=True)


def _stopped(state: RunState, event: RunPaused | RunFinished) -> None:
    """Until a person decides, or for good."""
    if isinstance(event, RunPaused):
        state.paused = event.reason
        return
    state.ending = Ending(event.ending)
    state.reason = event.reason
    state.duration_s = event.duration_s
    state.paused = ""


def _branch_deferred(state: RunState, entry: Recorded, event: BranchDeferred) -> None:
    """Put the branch behind all others, before `on_exhausted`: positions in `branches` are the order of trial."""
    branch = _branch(state, entry, event.branch)
    position = next(index for index, known in enumerate(state.branches) if known is branch)
    if branch.last_at is not None or not state.began <= position < len(state.plan.branches):
        raise _damaged(state, entry, f"branch {event.branch!r} had begun or is over, and cannot be put off")
    del state.branches[position]
    state.branches.insert(len(state.plan.branches) - 1, branch)
    branch.deferred = event.hold
    branch.deferred_why = event.reason


def _intervened(state: RunState, entry: Recorded, event: OperatorIntervened) -> None:
    state.interventions += 1
    match event.intervention:
        case Intervention.PAUSE:
            state.paused = f"paused by {event.by}" + (f": {event.comment}" if event.comment else "")
            return
        case Intervention.ABORT:
            state.aborted_by = event.by + (f" ({event.comment})" if event.comment else "")
        case Intervention.RETRY | Intervention.SKIP | Intervention.MARK_DONE:
            _override(state, entry, event)
        case Intervention.RESUME if not state.paused:
            for branch in state.branches:
                branch.released = branch.released or branch.waiting
        case Intervention.RESUME:
            pass
    state.paused = ""
    for order in state.open_orders.values():
        order.takeovers = 0


def _override(state: RunState, entry: Recorded, event: OperatorIntervened) -> None:
    branch = find_branch(state, event.step)
    if branch is None:
        raise _damaged(state, entry, f"the plan has no step {event.step!r}")
    step = state.steps.setdefault((branch.branch.name, event.step), StepState())
    if event.intervention is Intervention.RETRY:
        step.granted += 1
    elif event.intervention is Intervention.SKIP:
        step.skipped = True
    else:
        step.done_by_hand = True
        step.hand_result = event.result
        if event.step != GOAL_STEP and not step.do:
            branch.touched.append(branch.index[event.step])
    _advance(state, branch)
    _retire(state, branch, anew=True)


def find_branch(state: RunState, step: str) -> BranchState | None:
    """The branch that holds a step; for `goal` the one that is in progress."""
    if step == GOAL_STEP:
        return state.branches[state.began]
    return next((branch for branch in state.branches if step in branch.index), None)


def _advance(state: RunState, branch: BranchState) -> None:
    """Move the cursor over steps that nothing more is ordered of, so that no decision looks at them again."""
    steps = branch.branch.steps
    while branch.cursor < len(steps):
        step = steps[branch.cursor]
        verdict = judge(step, state.step(branch.branch.name, step.id))
        if not (verdict is Verdict.PASSED or (verdict.over and not step.required)):
            return
        branch.cursor += 1


def _retire(state: RunState, branch: BranchState, *, anew: bool) -> None:
    """Pass over what is compensated, so that no decision looks at it again; `anew` when an effect came to light."""
    if anew:
        branch.retired = 0
    if not branch.compensating:
        return
    while branch.retired < len(branch.touched):
        step = branch.branch.steps[branch.touched[-1 - branch.retired]]
        if not undo_over(step, state.step(branch.branch.name, step.id)):
            return
        branch.retired += 1


def _branch(state: RunState, entry: Recorded, name: str) -> BranchState:
    for branch in state.branches:
        if branch.branch.name == name:
            return branch
    raise _damaged(state, entry, f"the plan has no branch {name!r}")


def _damaged(state: RunState, entry: Recorded, why: str) -> JournalDamagedError:
    return JournalDamagedError(
        f"run {state.run_id}: entry {type(entry.event).__name__} at sequence {entry.sequence} contradicts the "
        f"journal: {why}; something else than the executor wrote there, or entries are missing",
        last=entry.sequence,
    )

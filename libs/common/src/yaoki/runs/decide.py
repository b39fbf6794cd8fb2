"""The decision: a run's state and the time in, what is to be done next out. Pure.

Safety, whatever entries a journal holds:

1. No forward order in a branch after a compensation of that branch was ordered.
2. An effect is ordered under one command id until its outcome is known; another attempt is another decision.
3. Nothing is undone once a pivot of the branch has happened or cannot be excluded.
4. Before a step of unknown outcome is compensated its worker has acknowledged that it will not begin any more.
5. Compensations go in the reverse of the order in which the steps began, one at a time, and go on after a failure.
6. A step that took down its runner `POISONED` times is left to a person.
7. While a person holds the run nothing new is ordered; what is under way is carried to its outcome.
8. While a hold is on, no disruptive branch begins unless a person released it; one that has begun goes on.

Every commitment is an entry: as long as nothing is written, deciding again, by anybody and at any time, is safe.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING

from yaoki.plans import GOAL_STEP, Call, OutcomeStatus, Phase, Step
from yaoki.runs.decisions import CarryOn, Decision, Defer, Hold, Pause, StartOrder, WaitForPerson, WaitUntil
from yaoki.runs.ending import completed, no_other_branch, unsuccessful
from yaoki.runs.rollback import decide_rollback, rolling_back
from yaoki.runs.verdict import Verdict, judge, too_many_never_began

if TYPE_CHECKING:
    from yaoki.runs.state import BranchState, RunState
    from yaoki.runs.step_state import OrderState, StepState

POISONED = 3
_GOAL_PAUSE_S = 0.1
_GOAL_LONGEST_PAUSE_S = 1.0
_GOAL_LEAST_S = 1.0
_HOLD_LOOK_S = 1.0


def decide(state: RunState, now: datetime, hold: Hold | None = None) -> tuple[Decision, ...]:
    """What is to be done now; several decisions are independent of each other and run at the same time.

    Args:
        state: Of the run.
        now: UTC.
        hold: Why disruptive branches must not begin; None when they may.
    """
    if state.ending is not None:
        return ()
    if poison := _poisoned(state):
        return poison
    if state.paused:
        carried = tuple(_carry(state, order) for order in state.open_orders.values() if order.takeovers < POISONED)
        return (*carried, WaitForPerson())
    for branch in state.branches[: state.began]:
        if late := decide_rollback(state, branch, now):
            return late
    return _decide_from(state, state.began, now, hold)


def _decide_from(state: RunState, position: int, now: datetime, hold: Hold | None) -> tuple[Decision, ...]:
    """The first branch at or after `position` that is not over decides."""
    for index in range(position, len(state.plan.branches)):
        branch = state.branches[index]
        if hold is not None and _held(state, branch):
            return (_hold_back(branch, hold, now),)
        wait = _delay(state, index)
        if wait is not None and now < wait:
            return _decide_ending(state, now) if state.aborted_by else (WaitUntil(at=wait),)
        if branch.branch.if_deferred and not branch.deferred:
            continue
        decisions = _decide_branch(state, branch, now)
        if decisions is not None:
            return decisions
        if no_other_branch(state, branch):
            break
    return _decide_ending(state, now)


def _decide_branch(state: RunState, branch: BranchState, now: datetime) -> tuple[Decision, ...] | None:
    """None when the branch has failed and has nothing left to compensate."""
    if state.aborted_by or rolling_back(branch):
        return _retreat(state, branch, now)
    forward = _decide_forward(state, branch, now)
    if forward is not None:
        return forward
    return _retreat(state, branch, now)


def _retreat(state: RunState, branch: BranchState, now: datetime) -> tuple[Decision, ...] | None:
    """First everything under way gets its outcome, then what was done is undone."""
    forward = [order for order in state.open_orders.values() if order.intent.phase is not Phase.UNDO]
    if forward:
        return tuple(_carry(state, order, withdraw=True) for order in forward)
    return decide_rollback(state, branch, now) or None


def _decide_forward(state: RunState, branch: BranchState, now: datetime) -> tuple[Decision, ...] | None:
    """Next orders of a branch that may still succeed; None when it has failed."""
    steps = branch.branch.steps
    if branch.cursor < len(steps):
        decisions, failed = _decide_group(state, branch, _group(steps, branch.cursor), now)
        if failed and not any(isinstance(decision, CarryOn) for decision in decisions):
            return None
        return tuple(decision for decision in decisions if not failed or isinstance(decision, CarryOn))
    return _decide_goal(state, branch, now)


def _group(steps: tuple[Step, ...], cursor: int) -> tuple[Step, ...]:
    """The step at the cursor with the neighbours after it that run at the same time."""
    first = steps[cursor]
    if not first.group:
        return (first,)
    return tuple(takewhile(lambda step: step.group == first.group, steps[cursor:]))


def _decide_group(
    state: RunState, branch: BranchState, group: tuple[Step, ...], now: datetime
) -> tuple[list[Decision], bool]:
    """Decisions for the steps of one group, and whether a required one has failed."""
    decisions: list[Decision] = []
    failed = False
    for step in group:
        verdict = judge(step, state.step(branch.branch.name, step.id))
        if verdict.over:
            failed = failed or (verdict is not Verdict.PASSED and step.required)
        else:
            decisions.append(_decide_step(state, branch, step, verdict=verdict, now=now))
    return decisions, failed


def _decide_step(state: RunState, branch: BranchState, step: Step, *, verdict: Verdict, now: datetime) -> Decision:
    stepped = state.step(branch.branch.name, step.id)
    if verdict is Verdict.OPEN:
        order = next(order for order in (*stepped.do[-1:], *stepped.verify[-1:]) if order.open)
        return _carry(state, order, withdraw=stepped.skipped or stepped.done_by_hand)
    if verdict is Verdict.ASK:
        return Pause(step=step.id, reason=_ask_reason(step, stepped))
    if verdict is Verdict.VERIFY:
        verified = stepped.accepted or stepped.do[-1]
        attempt = verified.intent.attempt
        return _start(branch, step, stepped, Phase.VERIFY, step.verify or step.do, attempt=attempt)
    last = stepped.do[-1] if stepped.do else None
    again = _after(last, step.retry_delay_s) if last is not None and last.began else None
    if again is not None and now < again:
        return WaitUntil(at=again)
    return _start(branch, step, stepped, Phase.DO, step.do, attempt=len(stepped.do) + 1)


def _start(
    branch: BranchState, step: Step, stepped: StepState, phase: Phase, call: Call, *, attempt: int
) -> StartOrder:
    return StartOrder(
        branch=branch.branch.name,
        step=step.id,
        phase=phase,
        number=len(stepped.orders(phase)) + 1,
        attempt=attempt,
        call=call,
        timeout_s=step.timeout_s,
    )


def _decide_goal(  # noqa: PLR0911 - one return for each way a goal can stand
    state: RunState, branch: BranchState, now: datetime
) -> tuple[Decision, ...] | None:
    """Check the goal until it is reached or its time is over; None when it was not reached.

    A new leader checks once more, however late it is: its predecessor's silence proves nothing.
    """
    goal, plan = branch.goal, branch.branch
    if plan.verify is None or goal.skipped or goal.done_by_hand:
        return (completed(state),)
    last = goal.verify[-1] if goal.verify else None
    if last is not None and last.open:
        return (_carry(state, last),)
    if last is not None and last.status is OutcomeStatus.SUCCEEDED:
        return (completed(state),)
    begun = [order for order in goal.verify if order.began]
    deadline = begun[0].started_at + timedelta(seconds=plan.verify_timeout_s) if begun else None
    if deadline is not None and last is not None and now >= deadline and last.intent.epoch == state.epoch:
        return None
    if deadline is None and too_many_never_began(goal, Phase.VERIFY):
        return None
    if last is not None:
        pause = min(_GOAL_PAUSE_S * 2 ** (len(goal.verify) - 1), _GOAL_LONGEST_PAUSE_S)
        if now < (again := _after(last, pause)):
            return (WaitUntil(at=again),)
    left = plan.verify_timeout_s if deadline is None else (deadline - now).total_seconds()
    number = len(goal.verify) + 1
    return (
        StartOrder(
            branch=plan.name,
            step=GOAL_STEP,
            phase=Phase.VERIFY,
            number=number,
            attempt=number,
            call=plan.verify,
            timeout_s=max(left, _GOAL_LEAST_S),
        ),
    )


def _decide_ending(state: RunState, now: datetime) -> tuple[Decision, ...]:
    """Run `on_exhausted`, whose failures are passed over, then finish."""
    last = state.branches[-1]
    if state.aborted_by:
        withdrawn = tuple(_carry(state, order, withdraw=True) for order in state.open_orders.values())
        return withdrawn or (unsuccessful(state),)
    if last.cursor < len(last.branch.steps):
        decisions, _ = _decide_group(state, last, _group(last.branch.steps, last.cursor), now)
        return tuple(decisions)
    return (unsuccessful(state),)


def _held(state: RunState, branch: BranchState) -> bool:
    """Whether a hold is about this branch: it would begin to do something, and nobody has released or aborted it."""
    untouched = branch.last_at is None and branch.cursor < len(branch.branch.steps)
    return branch.branch.disruptive and untouched and not branch.released and not state.aborted_by


def _hold_back(branch: BranchState, hold: Hold, now: datetime) -> Decision:
    """Try the others first. When it stands here again there is none left, and the run waits."""
    if branch.deferred != hold.name:
        return Defer(branch=branch.branch.name, hold=hold)
    return WaitUntil(at=now + timedelta(seconds=_HOLD_LOOK_S))


def _delay(state: RunState, index: int) -> datetime | None:
    """When branch `index` may begin; None when at once."""
    if index == 0 or state.began >= index or state.branches[index - 1].last_at is None:
        return None
    before = state.branches[index - 1]
    for step in before.branch.steps:
        if step.required:
            stepped = state.step(before.branch.name, step.id)
            if judge(step, stepped) is Verdict.SKIPPED:
                return None
            break
    assert before.last_at is not None  # noqa: S101 - tells the type checker what was checked above
    return before.last_at + timedelta(seconds=state.branches[index].branch.delay_s)


def _poisoned(state: RunState) -> tuple[Decision, ...]:
    if state.paused or state.aborted_by:
        return ()
    for order in state.open_orders.values():
        if order.takeovers >= POISONED:
            step = order.intent.step
            return (
                Pause(
                    step=step,
                    reason=f"step {step!r} ({order.intent.action}) was in progress when its runner was lost "
                    f"{order.takeovers} times; look at it, then retry, skip, mark-done or abort",
                ),
            )
    return ()


def _ask_reason(step: Step, stepped: StepState) -> str:
    error = stepped.do[-1].error
    return (
        f"nobody can tell whether step {step.id!r} ({step.do.action}) happened, and it must not happen twice"
        f"{f': {error}' if error else ''}; look, then mark-done, retry, skip or abort"
    )


def _carry(state: RunState, order: OrderState, *, withdraw: bool = False) -> CarryOn:
    settle: tuple[OrderState, ...] = ()
    if order.intent.phase is Phase.UNDO:
        settle = tuple(state.step(order.intent.branch, order.intent.step).unsettled)
    return CarryOn(order=order, withdraw=withdraw, settle=settle)


def _after(order: OrderState, seconds: float) -> datetime:
    return (order.ended_at or order.started_at) + timedelta(seconds=seconds)

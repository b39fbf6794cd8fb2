"""Writes what happens in a run into its journal."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from yaoki.errors import ErrorCode
from yaoki.events.runs import BranchDeferred, LateReplyRecorded, RunFinished, RunPaused, StepFinished, StepStarted
from yaoki.plans import OutcomeStatus
from yaoki.runs.views import summaries

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.clock import Clock
    from yaoki.plans import Call, Outcome
    from yaoki.runs.decisions import Defer, Finish, Pause, StartOrder
    from yaoki.runs.journalist import Journalist
    from yaoki.runs.state import RunState
    from yaoki.runs.step_state import OrderState

MAX_RESULT_BYTES = 128 * 1024
"""An entry must stay below NATS' 1 MiB, and later steps may refer to several results."""


class Recorder:
    """Makes entries. Each method writes nothing when the newest state shows that the entry is out of place.

    Args:
        journalist: Leads the run.
        clock: For durations and expiries.
    """

    def __init__(self, journalist: Journalist, clock: Clock) -> None:
        self._journalist = journalist
        self._clock = clock

    @property
    def _state(self) -> RunState:
        return self._journalist.state

    async def intent(self, decision: StartOrder, command_id: str, resolved: Callable[[], Call | None]) -> bool:
        """An order that is about to be given. `resolved` returns None when it is not to be given any more."""

        def make() -> StepStarted | None:
            call = resolved()
            return None if call is None else self._intent(decision, command_id, call)

        return await self._journalist.append(make)

    def _intent(self, decision: StartOrder, command_id: str, call: Call) -> StepStarted:
        return StepStarted(
            run_kind=self._state.run_kind,
            run_id=self._state.run_id,
            branch=decision.branch,
            step=decision.step,
            phase=decision.phase,
            attempt=decision.attempt,
            command_id=command_id,
            worker=call.worker,
            action=call.action,
            params=call.params,
            epoch=self._state.epoch,
            expires_at=self._clock.now() + timedelta(seconds=decision.timeout_s),
        )

    async def outcome(self, order: OrderState, outcome: Outcome) -> None:
        """What became of an order; an order that is still running is given up as unknown."""
        outcome = _fitting(outcome)
        unknown = outcome.status is OutcomeStatus.RUNNING
        took = max((self._clock.now() - order.started_at).total_seconds(), 0.0)

        def make() -> StepFinished | None:
            if not order.open:
                return None
            return StepFinished(
                run_kind=self._state.run_kind,
                run_id=self._state.run_id,
                branch=order.intent.branch,
                step=order.intent.step,
                phase=order.intent.phase,
                attempt=order.intent.attempt,
                command_id=order.intent.command_id,
                status=OutcomeStatus.UNKNOWN if unknown else outcome.status,
                result=outcome.result,
                error_code=outcome.error_code,
                error=outcome.error,
                duration_s=round(took, 6),
            )

        await self._journalist.append(make)

    async def late(self, order: OrderState, outcome: Outcome) -> None:
        """What became, after all, of an order that was given up."""
        outcome = _fitting(outcome)

        def make() -> LateReplyRecorded | None:
            if order.settled or order.open:
                return None
            return LateReplyRecorded(
                run_kind=self._state.run_kind,
                run_id=self._state.run_id,
                command_id=order.intent.command_id,
                step=order.intent.step,
                status=outcome.status,
                result=outcome.result,
            )

        await self._journalist.append(make)

    async def pause(self, decision: Pause) -> None:
        """The run waits for a person."""

        def make() -> RunPaused | None:
            if self._state.paused or self._state.aborted_by:
                return None
            return RunPaused(
                run_kind=self._state.run_kind, run_id=self._state.run_id, reason=decision.reason, step=decision.step
            )

        await self._journalist.append(make)

    async def defer(self, decision: Defer, *, decided_at: int) -> None:
        """A branch is put off, unless anything was written since sequence `decided_at`."""

        def make() -> BranchDeferred | None:
            if self._state.last != decided_at:
                return None
            return BranchDeferred(
                run_kind=self._state.run_kind,
                run_id=self._state.run_id,
                branch=decision.branch,
                hold=decision.hold.name,
                reason=decision.hold.reason,
                until=decision.hold.until,
            )

        await self._journalist.append(make)

    async def end(self, decision: Finish, *, decided_at: int) -> None:
        """The last entry, unless anything was written since sequence `decided_at`."""

        def make() -> RunFinished | None:
            if self._state.last != decided_at:
                return None
            took = (self._clock.now() - self._state.started_at).total_seconds()
            return RunFinished(
                run_kind=self._state.run_kind,
                run_id=self._state.run_id,
                ending=decision.ending,
                duration_s=round(max(took, 0.0), 6),
                steps=summaries(self._state),
                reason=decision.reason,
            )

        await self._journalist.append(make)


def too_large(result: object) -> int:
    """Its size when it cannot stand in a journal; 0 when it can."""
    size = len(msgspec.json.encode(result))
    return size if size > MAX_RESULT_BYTES else 0


def _fitting(outcome: Outcome) -> Outcome:
    """A result that no entry can hold would stop the run for ever; what was done is then compensated."""
    if not outcome.result or not (size := too_large(outcome.result)):
        return outcome
    return msgspec.structs.replace(
        outcome,
        status=OutcomeStatus.FAILED if outcome.status is OutcomeStatus.SUCCEEDED else outcome.status,
        result={},
        error_code=ErrorCode.INVALID,
        error=f"the action's result has {size} bytes, expected at most {MAX_RESULT_BYTES}; return less",
    )

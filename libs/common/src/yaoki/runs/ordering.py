"""Gives the orders of one run: intent, order, outcome; and finds out what became of those that were given up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from yaoki import faults
from yaoki.errors import ErrorCode, RejectedError
from yaoki.plans import Outcome, OutcomeStatus, Phase
from yaoki.runs.actions import refused
from yaoki.runs.carrier import Carrier, Patience, StaleOrderError, unknown
from yaoki.runs.recording import MAX_RESULT_BYTES, too_large
from yaoki.runs.references import mentions, resolve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yaoki.clock import Clock
    from yaoki.plans import Call
    from yaoki.runs.decisions import CarryOn, StartOrder
    from yaoki.runs.journalist import Journalist
    from yaoki.runs.recording import Recorder
    from yaoki.runs.state import RunState
    from yaoki.runs.step_state import OrderState
    from yaoki.runs.workers import Workers

_MAX_RISES = 3


class Ordering:
    """Orders of one run.

    Args:
        journalist: Leads the run.
        recorder: Writes entries.
        workers: Who carries out orders.
        clock: For expiries and waits.
        patience: See `Patience`.
    """

    def __init__(
        self, journalist: Journalist, recorder: Recorder, workers: Workers, clock: Clock, patience: Patience
    ) -> None:
        self._journalist = journalist
        self._recorder = recorder
        self._workers = workers
        self._clock = clock
        self._patience = patience

    @property
    def _state(self) -> RunState:
        return self._journalist.state

    async def begin(self, decision: StartOrder, command_id: str, wanted: Callable[[], bool]) -> None:
        """Write the intent as long as it is `wanted`, give the order, write the outcome."""
        mistake: RejectedError | None = None

        def resolved() -> Call | None:
            nonlocal mistake
            if not wanted():
                return None
            call, mistake = self._resolved(decision.call)
            return call

        if not await self._recorder.intent(decision, command_id, resolved):
            return
        order = self._state.orders[command_id]
        if mistake is None:
            outcome = await self._outcome(order, settle=decision.settle, fresh=True)
        else:
            outcome = refused(command_id, mistake.code, mistake.message)
        await self._recorder.outcome(order, outcome)

    async def resume(self, decision: CarryOn) -> None:
        """Find out what became of an order that has no outcome, give it again if need be, write the outcome."""
        order = decision.order
        if self._unresolved(order):
            outcome = refused(
                order.intent.command_id, ErrorCode.INVALID, "its references could not be resolved; it was never given"
            )
        elif decision.withdraw:
            outcome = await self._risen(order, lambda carrier: carrier.withdraw(self._state.order(order)), fresh=False)
        else:
            outcome = await self._outcome(order, settle=decision.settle, fresh=False)
        await self._recorder.outcome(order, outcome)

    async def chase(self, *, limit_s: float) -> bool:
        """Ask once for every order that was given up; whether any answer changed the run."""
        before = self._state.last
        await asyncio.gather(*(self._chase(order, limit_s) for order in list(self._state.unknown.values())))
        return self._state.last != before

    async def _chase(self, order: OrderState, limit_s: float) -> None:
        try:
            worker = self._workers.find(order.intent.worker)
        except RejectedError:
            return
        patience = msgspec.structs.replace(self._patience, call_s=limit_s)
        outcome = await Carrier(worker, self._clock, patience).late(self._state.order(order))
        if outcome is not None:
            await self._recorder.late(order, outcome)

    def _resolved(self, call: Call) -> tuple[Call, RejectedError | None]:
        """The call as it is ordered; as it stands in the plan, with the mistake, when it cannot be."""
        try:
            found = resolve(call, self._state)
        except RejectedError as error:
            return call, error
        if size := too_large(found.params):
            return call, RejectedError(
                f"its parameters have {size} bytes once resolved, expected at most {MAX_RESULT_BYTES}"
            )
        return found, None

    def _unresolved(self, order: OrderState) -> bool:
        """The leader before died between such an intent and its refusal; the order must not go out as it stands."""
        call = self._state.call(order)
        given = order.intent
        return call is not None and bool(mentions(call)) and (call.worker, call.params) == (given.worker, given.params)

    async def _outcome(self, order: OrderState, *, settle: tuple[OrderState, ...], fresh: bool) -> Outcome:
        if order.intent.phase is Phase.UNDO:
            prevented = await self._settle(order, settle)
            if prevented is not None:
                return prevented
        sent = not fresh

        async def carry(carrier: Carrier) -> Outcome:
            nonlocal sent
            first, sent = not sent, True
            faults.point("runs.sending")
            return await carrier.carry(self._state.order(order), fresh=first)

        return await self._risen(order, carry, fresh=fresh)

    async def _risen(self, order: OrderState, call: Callable[[Carrier], Awaitable[Outcome]], *, fresh: bool) -> Outcome:
        """Call with a carrier; take the lease again, higher, when the worker knows a higher epoch."""
        try:
            worker = self._workers.find(order.intent.worker)
        except RejectedError as error:
            if fresh:
                return refused(order.intent.command_id, error.code, error.message)
            return unknown(self._state.order(order), error.message)
        carrier = Carrier(worker, self._clock, self._patience)
        for _ in range(_MAX_RISES):
            epoch = self._state.epoch
            try:
                return await call(carrier)
            except StaleOrderError as error:
                await self._journalist.rise_above(error.known, epoch)
        return unknown(self._state.order(order), "the worker refuses every epoch of this leader")

    async def _settle(self, undo: OrderState, orders: tuple[OrderState, ...]) -> Outcome | None:
        """Have every order of unknown outcome excluded before its step is compensated.

        Returns:
            What prevents the compensation, or makes it needless; None when it may begin.
        """
        command_id = undo.intent.command_id
        for order in orders:
            outcome = await self._excluded(order)
            if outcome.status is OutcomeStatus.RUNNING:
                return Outcome(
                    command_id=command_id,
                    status=OutcomeStatus.FAILED,
                    error_code=ErrorCode.UNAVAILABLE,
                    error=f"worker {order.intent.worker!r} has not acknowledged that {order.intent.command_id} "
                    "will not begin any more; compensating it now could come too early",
                )
            await self._recorder.late(order, outcome)
        if not self._state.step(undo.intent.branch, undo.intent.step).effective:
            return Outcome(
                command_id=command_id, status=OutcomeStatus.SKIPPED, error="the step never began; nothing to undo"
            )
        return None

    async def _excluded(self, order: OrderState) -> Outcome:
        """What the worker acknowledged of a cancellation; RUNNING when it did not."""
        running = Outcome(command_id=order.intent.command_id, status=OutcomeStatus.RUNNING)

        async def cancel(carrier: Carrier) -> Outcome:
            return await carrier.cancel(self._state.order(order)) or running

        try:
            self._workers.find(order.intent.worker)
        except RejectedError:
            return running
        return await self._risen(order, cancel, fresh=False)

"""A worker in this process, for effects that may be repeated or observed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from yaoki.clock import Clock, SystemClock
from yaoki.errors import ErrorCode, TransientError
from yaoki.plans import Effect, Order, Outcome, OutcomeStatus
from yaoki.runs.actions import Actions, carry_out, expired, find_action, look, refused, unknown_action
from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from yaoki.runs.actions import Action

_REMEMBERED = 10_000


class LocalWorker:
    """See `yaoki.runs.ports.Worker`.

    What was ordered is remembered in memory only: after a crash another process performs an unfinished order
    again, perhaps while the first still works on it. Its actions are therefore idempotent, and fenced where
    they take effect (compare-and-set with the order's epoch). Use `DurableWorker` for all others.

    Args:
        actions: Handler by name of the action.
        clock: For the orders' expiry.
    """

    def __init__(self, actions: Actions, *, clock: Clock | None = None) -> None:
        self._actions = actions
        self._clock = clock or SystemClock()
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._finished: OrderedDict[str, Outcome] = OrderedDict()

    async def perform(self, order: Order) -> Outcome:
        """See `Worker.perform`. Waits for the handler; being cancelled while waiting does not stop it."""
        finished = self._finished.get(order.command_id)
        if finished is not None:
            return finished
        task = self._running.get(order.command_id)
        if task is None:
            refusal = self._refuse(order)
            if refusal is not None:
                return refusal
            action = find_action(self._actions, order.action)
            if action is None:
                return unknown_action(self._actions, order)
            task = self._begin(order, action)
        return await _result(task)

    async def ask(self, order: Order) -> Outcome | None:
        """See `Worker.ask`."""
        finished = self._finished.get(order.command_id)
        if finished is not None:
            return finished
        if order.command_id in self._running:
            return Outcome(command_id=order.command_id, status=OutcomeStatus.RUNNING)
        return await self._observe(order) if order.effect is Effect.OBSERVABLE else None

    async def _observe(self, order: Order) -> Outcome | None:
        """Whether a process before this one did it; None when it can be seen that nothing happened."""
        action = find_action(self._actions, order.action)
        if action is None:
            return None
        seen = await look(action, order)
        return None if seen.status is OutcomeStatus.FAILED else seen

    async def cancel(self, order: Order) -> Outcome:
        """See `Worker.cancel`. The tombstone holds in this process only."""
        known = await self.ask(order)
        if known is not None:
            return known
        cancelled = Outcome(command_id=order.command_id, status=OutcomeStatus.CANCELLED, error_code=ErrorCode.CANCELLED)
        self._remember(cancelled)
        return cancelled

    async def stop(self) -> None:
        """Cancel the handlers that are running and wait for them."""
        await end_tasks(list(self._running.values()))

    def _refuse(self, order: Order) -> Outcome | None:
        if order.effect is Effect.ONCE:
            return refused(
                order.command_id,
                ErrorCode.NOT_ALLOWED,
                f"{order.action} may happen only once and this worker has no durable table; use a DurableWorker",
            )
        return expired(order, self._clock)

    def _begin(self, order: Order, action: Action) -> asyncio.Task[Outcome]:
        task = asyncio.create_task(carry_out(action, order, self._clock), name=f"action {order.command_id}")
        self._running[order.command_id] = task

        def note(done: asyncio.Task[Outcome]) -> None:
            del self._running[order.command_id]
            if not done.cancelled():
                self._remember(done.result())

        task.add_done_callback(note)
        return task

    def _remember(self, outcome: Outcome) -> None:
        self._finished[outcome.command_id] = outcome
        if len(self._finished) > _REMEMBERED:
            self._finished.popitem(last=False)


async def _result(task: asyncio.Task[Outcome]) -> Outcome:
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise TransientError("this worker stops; the outcome of the order is unknown") from None
        raise

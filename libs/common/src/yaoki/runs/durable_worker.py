"""A worker that performs every order at most once, whatever dies: the worker's side of `yaoki.runs.ports.Worker`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from yaoki import faults
from yaoki.clock import Clock, SystemClock
from yaoki.errors import ConflictError, TransientError
from yaoki.plans import Effect, Order, Outcome, OutcomeStatus
from yaoki.runs.actions import Action, Actions, carry_out, expired, find_action, look, lost, unknown_action
from yaoki.runs.carrier import stale
from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from yaoki.runs.order_table import OrderTable, Remembered

_log = structlog.get_logger("yaoki.runs")
_GRACE_S = 5.0
_RETRY_S = 0.2


class DurableWorker:
    """Carries orders out and remembers them in its table.

    Invariants: `begun` is written before an effect begins; an order below the highest obeyed epoch, expired or
    buried never begins; a finished order is answered, never repeated.

    Args:
        actions: Handler by name of the action.
        table: What is remembered.
        clock: For the orders' expiry.
        answer_s: A request is answered RUNNING after this time, and the asker asks again.
    """

    def __init__(
        self, actions: Actions, table: OrderTable, *, clock: Clock | None = None, answer_s: float = 5.0
    ) -> None:
        self._actions = actions
        self._table = table
        self._clock = clock or SystemClock()
        self._answer_s = answer_s
        self._running: dict[str, asyncio.Task[Outcome]] = {}

    async def perform(self, order: Order) -> Outcome:
        """See `Worker.perform`. Being cancelled while waiting does not stop the handler."""
        task = self._running.get(order.command_id)
        if task is None:
            task = asyncio.create_task(self._perform(order), name=f"order {order.command_id}")
            self._running[order.command_id] = task
            task.add_done_callback(lambda done: self._forget(order.command_id, done))
        return await self._answer(order, task, within_s=self._answer_s)

    async def ask(self, order: Order) -> Outcome | None:
        """See `Worker.ask`."""
        known = await self._table.find(order.command_id)
        task = self._running.get(order.command_id)
        if task is not None:
            return await self._answer(order, task, within_s=0.0)
        return None if known is None else await self._known(order, known)

    async def cancel(self, order: Order) -> Outcome:
        """See `Worker.cancel`."""
        outdated = await self._outdated(order)
        if outdated is not None:
            return outdated
        known = await self._table.bury(order)
        task = self._running.get(order.command_id)
        if task is not None:
            return await self._answer(order, task, within_s=0.0)
        return await self._known(order, known)

    async def stop(self) -> None:
        """Cancel the handlers that are running and wait for them; their orders stay begun and unfinished."""
        await end_tasks(list(self._running.values()))

    def _forget(self, command_id: str, task: asyncio.Task[Outcome]) -> None:
        del self._running[command_id]
        if not task.cancelled():
            task.exception()  # whoever asked may have gone; the next one who asks finds what is in the table

    async def _perform(self, order: Order) -> Outcome:
        """The only task of this process for this order."""
        known = await self._table.find(order.command_id)
        if known is not None and known.record.outcome is not None:
            return known.record.outcome
        outdated = await self._outdated(order)
        if outdated is not None:
            return outdated
        action = find_action(self._actions, order.action)
        late = expired(order, self._clock)
        if known is None:
            if action is None or late is not None:
                return late or unknown_action(self._actions, order)
        elif action is None or late is not None or not self._repeatable(order, known):
            return await self._known(order, known)
        return await self._begin(order, action, known)

    async def _begin(self, order: Order, action: Action, known: Remembered | None) -> Outcome:
        try:
            begun = await (self._table.begin(order) if known is None else self._table.take_over(order, known))
        except ConflictError:
            return _running(order)
        faults.point("worker.begun")
        outcome = await carry_out(action, order, self._clock)
        faults.point("worker.done")
        return await self._finish(outcome, begun)

    async def _outdated(self, order: Order) -> Outcome | None:
        known = await self._table.obey(order.resource, order.epoch)
        return stale(order, known) if known > order.epoch else None

    def _repeatable(self, order: Order, known: Remembered) -> bool:
        """Begun by a process that is gone, and harmless to begin again."""
        return self._performer_gone(order, known) and order.effect is Effect.IDEMPOTENT

    def _performer_gone(self, order: Order, known: Remembered) -> bool:
        if known.record.performer == self._table.instance:
            return True  # were it in progress here, it would be among the running ones
        return self._clock.now() > order.expires_at + timedelta(seconds=_GRACE_S)

    async def _known(self, order: Order, known: Remembered) -> Outcome:
        """What to say of an order that was begun and is not running here."""
        if known.record.outcome is not None:
            return known.record.outcome
        if not self._performer_gone(order, known):
            return _running(order)
        action = find_action(self._actions, order.action)
        seen = lost(order) if action is None else await look(action, order)
        return await self._finish(seen, known) if seen.status.final else seen

    async def _finish(self, outcome: Outcome, known: Remembered) -> Outcome:
        """Write the outcome down, for as long as it takes: until then the order is not answered as finished.

        Returns:
            What stands in the table: another process may have taken the order over.
        """
        while True:
            try:
                return (await self._table.finish(outcome, known)).record.outcome or outcome
            except ConflictError:
                _log.warning("order was finished by another process", command=outcome.command_id)
                other = await self._table.find(outcome.command_id)
                return (other and other.record.outcome) or outcome
            except TransientError as error:
                _log.warning("outcome not stored yet", command=outcome.command_id, error=error.message)
                await self._clock.sleep(_RETRY_S)

    async def _answer(self, order: Order, task: asyncio.Task[Outcome], *, within_s: float) -> Outcome:
        done, _ = await asyncio.wait({task}, timeout=within_s)
        if not done:
            return _running(order)
        if task.cancelled():
            raise TransientError("this worker stops; the outcome of the order is unknown")
        return task.result()


def _running(order: Order) -> Outcome:
    return Outcome(command_id=order.command_id, status=OutcomeStatus.RUNNING)

"""Workers over the network: asking one, and being one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from yaoki.commands.worker import AskOrder, CancelOrder, OrderReply, PerformOrder
from yaoki.errors import TransientError
from yaoki.plans import OutcomeStatus
from yaoki.runs.durable_worker import DurableWorker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    import msgspec

    from yaoki.clock import Clock
    from yaoki.commands.base import Request
    from yaoki.plans import Order, Outcome
    from yaoki.runs.actions import Actions
    from yaoki.runs.order_table import OrderTable

_PERFORM_S = 10.0
_ASK_S = 2.0


class Requests(Protocol):
    """What a remote worker needs of the message system."""

    async def request(self, request: Request, *, service: str | None = None, timeout_s: float = 5.0) -> Any:
        """See `yaoki.messaging.Messaging.request`."""
        ...


class Server(Protocol):
    """What a served worker needs of the message system."""

    def serve(
        self,
        request_type: type[Any],
        handler: Callable[[Any], Awaitable[msgspec.Struct]],
        *,
        service: str | None = None,
    ) -> None:
        """See `yaoki.messaging.Messaging.serve`."""
        ...


class RemoteWorker:
    """See `yaoki.runs.ports.Worker`: the worker `name` at `api.<name>.perform|ask|cancel`.

    Args:
        requests: The message system.
        name: Of the worker.
        table: The worker's table. With it a cancellation is a tombstone even while the worker cannot be reached:
            it looks there before it begins anything.
    """

    def __init__(self, requests: Requests, name: str, table: OrderTable | None = None) -> None:
        self._requests = requests
        self._name = name
        self._table = table

    async def perform(self, order: Order) -> Outcome:
        """See `Worker.perform`."""
        outcome = (await self._send(PerformOrder(order=order), _PERFORM_S)).outcome
        if outcome is None:
            raise TransientError(f"worker {self._name!r} did not say what became of {order.command_id}")
        return outcome

    async def ask(self, order: Order) -> Outcome | None:
        """See `Worker.ask`."""
        return (await self._send(AskOrder(order=order), _ASK_S)).outcome

    async def cancel(self, order: Order) -> Outcome:
        """See `Worker.cancel`."""
        try:
            outcome = (await self._send(CancelOrder(order=order), _ASK_S)).outcome
        except TransientError:
            outcome = await self._bury(order)
        if outcome is None:
            raise TransientError(f"worker {self._name!r} did not acknowledge the cancellation of {order.command_id}")
        return outcome

    async def _bury(self, order: Order) -> Outcome | None:
        if self._table is None:
            raise TransientError(f"worker {self._name!r} cannot be reached")
        found = (await self._table.bury(order)).record.outcome
        # Begun and not finished, and nobody there to ask: only the worker itself can tell.
        return found if found is not None and found.status is not OutcomeStatus.RUNNING else None

    async def _send(self, request: Request, timeout_s: float) -> OrderReply:
        reply: OrderReply = await self._requests.request(request, service=self._name, timeout_s=timeout_s)
        return reply


def serve_orders(server: Server, table: OrderTable, actions: Actions, *, clock: Clock | None = None) -> DurableWorker:
    """Answer orders as the worker `table.worker`; begins when the message system is started.

    Returns:
        The worker; stop it at the end.
    """
    worker = DurableWorker(actions, table, clock=clock)

    async def perform(request: PerformOrder) -> OrderReply:
        return OrderReply(outcome=await worker.perform(request.order))

    async def ask(request: AskOrder) -> OrderReply:
        return OrderReply(outcome=await worker.ask(request.order))

    async def cancel(request: CancelOrder) -> OrderReply:
        return OrderReply(outcome=await worker.cancel(request.order))

    server.serve(PerformOrder, perform, service=table.worker)
    server.serve(AskOrder, ask, service=table.worker)
    server.serve(CancelOrder, cancel, service=table.worker)
    return worker

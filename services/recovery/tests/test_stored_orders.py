"""What a person orders as a stored command is carried out, also when it has to wait, over a real NATS."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from recovery.handlers import OrderHandlers
from recovery.intake import run_id_of
from yaoki.clock import SystemClock, Uuid7Source
from yaoki.commands.recovery import RunChain
from yaoki.errors import ErrorCode, RejectedError, TransientError
from yaoki.events.probe import FailureType
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import provision
from yaoki.subjects import Subjects
from yaoki.testing import eventually

from .builders import config, failure
from .test_handlers import Desk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.messaging.ports import Envelope
    from yaoki_devstack.nats import NatsServer

pytestmark = pytest.mark.real
DATABASE = FailureType.DATABASE_CONNECTION
ORDER = RunChain(target="orders-db", failure_type=DATABASE, by="alice", order_id="drill-1")
BUSY = run_id_of("incident-1", DATABASE)


class Orders:
    """The handlers of orders, and what became of each delivery."""

    def __init__(self, desk: Desk, messaging: Messaging) -> None:
        self.refusals: list[str] = []
        self.handlers = OrderHandlers(
            config(),
            executor=desk.executor,
            incidents=desk.incidents,
            orders=messaging,
            subjects=Subjects(),
            clock=SystemClock(),
            ids=Uuid7Source(),
        )

    async def on_run_ordered(self, order: RunChain, envelope: Envelope) -> None:
        """As `OrderHandlers`."""
        try:
            await self.handlers.on_run_ordered(order, envelope)
        except TransientError as error:
            self.refusals.append(error.message)
            raise


@asynccontextmanager
async def listening(nats_server: NatsServer, desk: Desk) -> AsyncIterator[tuple[Messaging, Orders]]:
    settings = NatsSettings(servers=(nats_server.url,))
    await provision(settings)
    async with Messaging.connect(settings, service="recovery", instance="recovery-1") as messaging:
        orders = Orders(desk, messaging)
        messaging.on_commands(RunChain, orders.on_run_ordered)
        await messaging.start()
        yield messaging, orders


async def test_an_order_waits_for_the_end_of_another_run(nats_server: NatsServer) -> None:
    """The command is delivered again until the servers are free, and never put aside meanwhile."""
    desk = Desk()
    await desk.deliver(failure(), 7)
    async with listening(nats_server, desk) as (messaging, orders):
        await messaging.order(ORDER, message_id="drill-1")
        await eventually(lambda: len(orders.refusals) > 1, within=20)

        assert await desk.runs() == [BUSY]
        assert f"the order of alice for 'orders-db' waits for the end of run {BUSY}" in orders.refusals[0]
        await desk.end(BUSY)

        await eventually(lambda: _runs(desk, ["order-drill-1"]), within=20)
        dead = await messaging.client.jetstream().stream_info("DLQ")
        assert dead.state.messages == 0


async def test_a_request_is_refused_at_once_and_names_the_run(nats_server: NatsServer) -> None:
    """Whoever waits for an answer gets one; nothing is stored."""
    desk = Desk()
    await desk.deliver(failure(), 7)
    async with listening(nats_server, desk) as (messaging, orders):
        with pytest.raises(RejectedError, match=f"run {BUSY} is working on 'orders'") as refused:
            await orders.handlers.run(ORDER)
        stored = await messaging.client.jetstream().stream_info("COMMANDS")

    assert refused.value.code is ErrorCode.CONFLICT
    assert (stored.state.messages, orders.refusals) == (0, [])


async def _runs(desk: Desk, expected: list[str]) -> bool:
    return await desk.runs() == expected

"""Consumers: slow handlers, order, loss of the consumer, missing permissions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from typing import TYPE_CHECKING

import msgspec
import nkeys  # type: ignore[import-untyped]  # has no stubs
import pytest
from nats.js.errors import NotFoundError
from yaoki.errors import FatalError, TransientError
from yaoki.events.agent import ServerStarted
from yaoki.events.delivery import MessageDeadLettered, Severity
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import provision
from yaoki.testing import eventually
from yaoki_devstack.nats import NatsServer

from .conftest import shorten_ack_wait, with_test_consumer
from .observing import Recorder, letters

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.messaging import Envelope

    Build = Callable[[str], ServerStarted]

pytestmark = pytest.mark.real

ACK_WAIT_S = 3.0
"""Longer than a busy machine stands still: progress is reported each third of it."""


class Gate:
    """A handler that stays inside until it is opened.

    Attributes:
        inside: Members whose handlers run now.
        most: How many ran at the same time at most.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.inside = 0
        self.most = 0
        self.open = asyncio.Event()

    async def __call__(self, event: ServerStarted, _: Envelope) -> None:
        """Wait for the gate."""
        self.calls.append(event.member)
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.open.wait()
        self.inside -= 1


async def delivered(messaging: Messaging) -> int:
    info = await messaging.jetstream.consumer_info("EVENTS", "recovery-starts")
    return info.delivered.consumer_seq if info.delivered else 0


async def past_ack_wait(begun: float) -> None:
    """Wait until what was delivered at `begun` and never reported would have been delivered again."""
    loop = asyncio.get_running_loop()
    await eventually(lambda: loop.time() - begun > ACK_WAIT_S * 1.2)


async def test_a_handler_slower_than_ack_wait_is_called_once(
    messaging: Messaging, settings: NatsSettings, started: Build
) -> None:
    await shorten_ack_wait(settings, ACK_WAIT_S)
    gate = Gate()
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=gate, slow=True)
    await messaging.start()
    await messaging.publisher.publish(started("slow"))
    await eventually(lambda: gate.calls == ["slow"])
    await past_ack_wait(asyncio.get_running_loop().time())
    gate.open.set()
    await eventually(lambda: gate.inside == 0)
    assert gate.calls == ["slow"]
    assert await delivered(messaging) == 1


async def test_messages_that_wait_behind_a_slow_one_are_not_delivered_twice(
    messaging: Messaging, settings: NatsSettings, started: Build
) -> None:
    await shorten_ack_wait(settings, ACK_WAIT_S)
    gate = Gate()
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=gate)
    for number in range(10):
        await messaging.publisher.publish(started(f"m{number}"))
    await messaging.start()

    async def all_fetched() -> bool:
        return await delivered(messaging) == 10

    await eventually(all_fetched)
    await past_ack_wait(asyncio.get_running_loop().time())
    assert gate.calls == ["m0"]
    gate.open.set()
    await eventually(lambda: len(gate.calls) == 10)
    assert gate.calls == [f"m{number}" for number in range(10)]
    assert await delivered(messaging) == 10


async def test_slow_handlers_run_side_by_side_and_nothing_is_fetched_before_its_turn(
    messaging: Messaging, started: Build
) -> None:
    gate = Gate()
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=gate, slow=True)
    await messaging.start()
    for number in range(20):
        await messaging.publisher.publish(started(f"m{number}"))
    await eventually(lambda: gate.inside == 8)
    assert await delivered(messaging) == 8
    gate.open.set()
    await eventually(lambda: len(gate.calls) == 20)
    assert gate.most == 8


async def test_stopping_gives_back_what_nobody_has_begun(settings: NatsSettings, started: Build) -> None:
    patient = msgspec.structs.replace(with_test_consumer().consumers[-1], ack_wait_s=60.0)
    await provision(settings, with_test_consumer(patient))
    gate = Gate()
    first = await Messaging.connect(settings, service="recovery", instance="first")
    first.on(durable="recovery-starts", types=(ServerStarted,), handler=gate)
    for number in range(10):
        await first.publisher.publish(started(f"m{number}"))
    await first.start()
    await eventually(lambda: gate.inside == 1)

    async def all_fetched() -> bool:
        return await delivered(first) == 10

    await eventually(all_fetched)
    stopping = asyncio.create_task(first.stop())
    async with Messaging.connect(settings, service="recovery", instance="second") as second:
        handler = Recorder[ServerStarted]()
        second.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
        await second.start()
        # Long before ack_wait is over, and while the first one is still busy.
        await eventually(lambda: len(handler.calls) == 9)
        assert gate.calls == ["m0"]
        gate.open.set()
        await stopping
        assert "m0" not in {event.member for event, _, _ in handler.calls}


async def test_a_thousand_messages_arrive_in_order_once(messaging: Messaging, started: Build) -> None:
    handler = Recorder[ServerStarted]()
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
    await messaging.start()
    await asyncio.gather(*(messaging.publisher.publish(started(f"m{n}")) for n in range(1000)))
    await eventually(lambda: len(handler.calls) == 1000, within=20)
    sequences = [envelope.sequence for _, envelope, _ in handler.calls]
    assert sequences == list(range(1, 1001))


async def test_a_deleted_consumer_is_noticed_and_used_again_when_it_is_back(
    messaging: Messaging, provisioned: NatsSettings, started: Build
) -> None:
    handler = Recorder[ServerStarted]()
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
    await messaging.start()
    await eventually(lambda: messaging.healthy() == [])
    await messaging.jetstream.delete_consumer("EVENTS", "recovery-starts")
    (reason,) = await eventually(messaging.healthy, within=10)
    assert "recovery-starts" in reason
    await provision(provisioned, with_test_consumer())
    await messaging.publisher.publish(started("pg-a"))
    await eventually(lambda: handler.calls, within=15)
    await eventually(lambda: messaging.healthy() == [], within=10)


async def test_a_consumer_that_is_not_provisioned_is_waited_for(settings: NatsSettings, started: Build) -> None:
    await provision(settings)
    async with Messaging.connect(settings, service="recovery", instance="r") as messaging:
        handler = Recorder[ServerStarted]()
        messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
        await messaging.start()
        await eventually(lambda: ["yaoki provision" in reason for reason in messaging.healthy()] == [True])
        await provision(settings, with_test_consumer())
        await messaging.publisher.publish(started("pg-a"))
        await eventually(lambda: handler.calls, within=10)
        await eventually(lambda: messaging.healthy() == [])


async def test_a_silent_end_of_deliveries_is_put_aside_by_the_advisories(
    settings: NatsSettings, started: Build
) -> None:
    one_try = msgspec.structs.replace(
        with_test_consumer().consumers[-1], max_deliver=1, ack_wait_s=0.5, durable="recovery-once"
    )
    await provision(settings, with_test_consumer(one_try))
    async with Messaging.connect(settings, service="recovery", instance="r") as messaging:
        messaging.watch_advisories()
        await messaging.start()
        await messaging.publisher.publish(started("pg-a"), event_id="lost")
        # Somebody takes the message and dies: it is never settled, and delivered no second time.
        taker = await messaging.jetstream.pull_subscribe_bind(consumer="recovery-once", stream="EVENTS")
        await taker.fetch(1)

        async def asks_again() -> bool:
            try:
                await taker.fetch(1, timeout=0.2)
            except TimeoutError:
                return bool(await letters(messaging))
            return False

        await eventually(asks_again, within=10)
        (letter,) = await letters(messaging)
        headers = letter.headers or {}
        assert letter.subject == "yaoki.dlq.recovery"
        assert headers["yaoki-dlq-reason"] == "max-deliver"
        assert headers["ce-id"] == "lost"
        assert msgspec.json.decode(letter.data or b"", type=ServerStarted).member == "pg-a"

        async def told() -> MessageDeadLettered | None:
            with contextlib.suppress(NotFoundError):
                found = await messaging.jetstream.get_last_msg("EVENTS", DEAD_LETTERED)
                return msgspec.json.decode(found.data or b"", type=MessageDeadLettered)
            return None

        event = await eventually(told)
        assert event is not None
        assert event.severity is Severity.CRITICAL


DEAD_LETTERED = "yaoki.evt.delivery.recovery.message-dead-lettered"
PERMISSIONS = """
authorization {
  users: [
    {user: admin, password: a}
    {user: worker, password: w, permissions: {
      publish: ["$JS.API.STREAM.INFO.EVENTS", "$JS.API.CONSUMER.INFO.>", "$JS.API.CONSUMER.MSG.NEXT.>", "$JS.ACK.>"]
      subscribe: ["_INBOX_worker.>"]
    }}
  ]
}
"""


async def test_a_missing_permission_makes_the_service_not_ready(started: Build) -> None:
    async with NatsServer(extra_config=PERMISSIONS) as server:
        admin = NatsSettings(servers=(server.url,), monitoring_url=server.monitor_url, user="admin", password="a")
        await provision(admin, with_test_consumer())
        worker = msgspec.structs.replace(
            admin, user="worker", password="w", inbox_prefix="_INBOX_worker", publish_patience_s=0.5
        )
        async with Messaging.connect(worker, service="recovery", instance="r") as messaging:
            handler = Recorder[ServerStarted]()
            messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
            await messaging.start()
            await eventually(lambda: messaging.healthy() == [])
            publishing = asyncio.create_task(messaging.publisher.publish(started("pg-a")))
            (reason,) = await eventually(messaging.healthy)
            assert "permissions violation" in reason.lower()
            assert "yaoki.evt.agent" in reason
            with pytest.raises(TransientError):
                await publishing


# nats-py leaves the socket of a refused first connect to the garbage collector; the process ends anyway.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_wrong_password_is_fatal_at_once() -> None:
    async with NatsServer(extra_config=PERMISSIONS) as server:
        wrong = NatsSettings(servers=(server.url,), user="admin", password="nonsense")
        with pytest.raises(FatalError, match="check user, password") as caught:
            await Messaging.connect(wrong, service="recovery", instance="r")
        assert "nonsense" not in str(caught.value)
        del caught
        gc.collect()


async def test_an_nkey_identity_is_let_in(started: Build) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    async with NatsServer(extra_config=f"authorization {{ users: [{{nkey: {public}}}] }}\n") as server:
        settings = NatsSettings(servers=(server.url,), monitoring_url=server.monitor_url, nkey_seed=seed.decode())
        assert seed.decode() not in repr(settings)
        await provision(settings)
        async with Messaging.connect(settings, service="recovery", instance="r") as messaging:
            assert (await messaging.publisher.publish(started("pg-a"))).sequence == 1


async def test_two_handlers_for_one_consumer_are_refused(messaging: Messaging) -> None:
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=Recorder[ServerStarted]())
    with pytest.raises(FatalError, match="one handler"):
        messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=Recorder[ServerStarted]())

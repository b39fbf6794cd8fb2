"""Publishing: acknowledged, once, under a name that exists, through outages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
import pytest
from yaoki.errors import RejectedError, TransientError
from yaoki.events.agent import ServerStarted
from yaoki.messaging import Messaging
from yaoki.messaging.envelope import escape
from yaoki.testing import eventually

from .observing import Recorder, stream_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.messaging import Envelope, NatsSettings
    from yaoki_devstack.nats import NatsServer

    Build = Callable[[str], ServerStarted]


@pytest.mark.real
async def test_an_event_travels_as_a_cloud_event(messaging: Messaging, started: Build) -> None:
    published = await messaging.publisher.publish(started("pg-a"), correlation="incident 1")
    (message,) = await stream_messages(messaging, "EVENTS")
    headers = message.headers or {}
    assert message.subject == "yaoki.evt.agent.agent-pg-a.server-started"
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-id"] == headers["Nats-Msg-Id"] == published.id
    assert UUID(published.id).version == 7
    assert headers["ce-source"] == "/recovery/recovery-1"
    assert headers["ce-type"] == "yaoki.agent.server-started"
    assert headers["ce-time"].endswith("Z")
    assert headers["ce-subject"] == "agent-pg-a"
    assert headers["ce-datacontenttype"] == "application/json"
    assert headers["yaoki-correlation"] == "incident%201"
    assert published.sequence == 1
    assert msgspec.json.decode(message.data or b"")["type"] == "ServerStarted"


@pytest.mark.real
async def test_the_same_id_is_stored_once(messaging: Messaging, started: Build) -> None:
    first = await messaging.publisher.publish(started("pg-a"), event_id="same")
    second = await messaging.publisher.publish(started("pg-a"), event_id="same")
    assert (first.sequence, first.duplicate) == (1, False)
    assert (second.sequence, second.duplicate) == (1, True)


@pytest.mark.real
@pytest.mark.parametrize("name", ["*", ">", "a.b", "", "A", "a b", "x" * 129])
async def test_a_name_that_cannot_stand_in_a_subject_is_refused(messaging: Messaging, name: str) -> None:
    event = msgspec.structs.replace(
        msgspec.convert(
            {
                "type": "ServerStarted",
                "agent": "a",
                "cluster": "c",
                "member": "m",
                "epoch": [1, 1],
                "role": "primary",
            },
            ServerStarted,
        ),
        agent=name,
    )
    with pytest.raises(RejectedError, match="entity"):
        await messaging.publisher.publish(event)
    assert (await messaging.jetstream.stream_info("EVENTS")).state.messages == 0


@pytest.mark.real
async def test_too_large_an_event_is_refused_and_the_connection_survives(messaging: Messaging, started: Build) -> None:
    # Body alone fits; with its headers it does not, at which the server would close the connection.
    size = messaging.client.max_payload - 200
    with pytest.raises(RejectedError, match="the server takes"):
        await messaging.publisher.publish(started("m" * size))
    assert messaging.connected
    await messaging.publisher.publish(started("pg-a"))


@pytest.mark.real
async def test_without_a_stream_publishing_fails_instead_of_vanishing(settings: NatsSettings, started: Build) -> None:
    impatient = msgspec.structs.replace(settings, publish_patience_s=0.5)
    async with Messaging.connect(impatient, service="recovery", instance="r") as messaging:
        with pytest.raises(TransientError, match="yaoki provision"):
            await messaging.publisher.publish(started("pg-a"))


@pytest.mark.real
async def test_a_publish_during_an_outage_is_stored_once(
    messaging: Messaging, server: NatsServer, started: Build
) -> None:
    await messaging.publisher.publish(started("before"))
    await server.kill()
    publishing = asyncio.gather(*(messaging.publisher.publish(started(f"m{n}"), event_id=f"id-{n}") for n in range(20)))
    await eventually(lambda: not messaging.connected)
    await server.start()
    published = await publishing
    assert len({one.sequence for one in published}) == 20
    stored = await stream_messages(messaging, "EVENTS")
    identities = [(message.headers or {})["ce-id"] for message in stored]
    assert sorted(identities[1:]) == sorted(f"id-{n}" for n in range(20))


@pytest.mark.real
async def test_a_lost_acknowledgement_stores_one_copy(
    provisioned: NatsSettings, server: NatsServer, started: Build
) -> None:
    async with Messaging.connect(provisioned, service="recovery", instance="r") as messaging:
        await server.pause()
        before = messaging.client.stats["out_msgs"]
        publishing = asyncio.create_task(messaging.publisher.publish(started("pg-a"), event_id="once"))

        async def was_sent() -> bool:
            return messaging.client.stats["out_msgs"] > before

        await eventually(was_sent)
        await server.resume()
        await publishing
        again = await messaging.publisher.publish(started("pg-a"), event_id="once")
        assert again.duplicate
        assert len(await stream_messages(messaging, "EVENTS")) == 1


@pytest.mark.real
async def test_what_a_handler_publishes_names_its_cause(messaging: Messaging, started: Build) -> None:
    async def handler(event: ServerStarted, _: Envelope) -> None:
        if event.member == "first":
            await messaging.publisher.publish(started("second"))

    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
    await messaging.start()
    cause = await messaging.publisher.publish(started("first"), correlation="incident-1")

    async def both() -> bool:
        return len(await stream_messages(messaging, "EVENTS")) == 2

    await eventually(both)
    headers = (await stream_messages(messaging, "EVENTS"))[1].headers or {}
    assert headers["yaoki-causation"] == cause.id
    assert headers["yaoki-correlation"] == "incident-1"


@pytest.mark.real
async def test_a_plain_message_is_identified_by_its_place(messaging: Messaging, started: Build) -> None:
    handler = Recorder[ServerStarted]()
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
    await messaging.start()
    await messaging.jetstream.publish("yaoki.evt.agent.a.server-started", msgspec.json.encode(started("pg-a")))
    await eventually(lambda: handler.calls)
    _, envelope, _ = handler.calls[0]
    assert envelope.id == "EVENTS-1"
    assert envelope.sequence == 1
    assert envelope.correlation is None


@pytest.mark.parametrize(
    ("value", "escaped"), [("plain-1", "plain-1"), ("a b", "a%20b"), ('"%', "%22%25"), ("é", "%C3%A9")]
)
def test_header_values_are_percent_encoded(value: str, escaped: str) -> None:
    assert escape(value) == escaped

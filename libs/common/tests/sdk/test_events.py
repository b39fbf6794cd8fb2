"""Reading the event stream through everything: real NATS."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from yaoki.events.flags import FlagChanged
from yaoki.events.probe import FailureCleared, FailureDetected, FailureType
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import provision
from yaoki.sdk import Yaoki
from yaoki.testing import patient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.events import Event
    from yaoki.messaging.ports import Envelope
    from yaoki_devstack.nats import NatsServer

pytestmark = pytest.mark.real


@pytest.fixture
async def settings(nats_server: NatsServer) -> NatsSettings:
    settings = NatsSettings(servers=(nats_server.url,))
    await provision(settings)
    return settings


def detected(target: str) -> FailureDetected:
    return FailureDetected(
        target=target,
        target_kind="tcp",
        region="local",
        vantage="here",
        failure_type=FailureType.EXTERNAL_SERVICE,
        incident_id="i-1",
        first_failed_at=datetime.now(UTC),
        failures=3,
    )


async def take(events: AsyncIterator[tuple[Event, Envelope]], count: int) -> list[tuple[Event, Envelope]]:
    async with asyncio.timeout(patient(20)):
        return [await anext(events) for _ in range(count)]


def targets(seen: list[tuple[Event, Envelope]]) -> list[str]:
    return [event.entity for event, _ in seen]


async def test_only_the_wanted_types_arrive_in_order(settings: NatsSettings) -> None:
    """Others are filtered out by the server."""
    async with (
        Messaging.connect(settings, service="test", instance="test") as messaging,
        Yaoki.connect(settings, application="reader") as yaoki,
    ):
        for number in range(3):
            await messaging.publisher.publish(FlagChanged(flag="f", value="{}", by="test"))
            await messaging.publisher.publish(detected(f"t{number}"))

        seen = await take(yaoki.events(FailureDetected, FailureCleared, after=0), 3)

    assert targets(seen) == ["t0", "t1", "t2"]
    assert all(envelope.source == "/test/test" for _, envelope in seen)


async def test_reading_goes_on_where_it_stopped(settings: NatsSettings) -> None:
    """The sequence of the last event seen is all that has to be remembered."""
    async with (
        Messaging.connect(settings, service="test", instance="test") as messaging,
        Yaoki.connect(settings, application="reader") as yaoki,
    ):
        for number in range(4):
            await messaging.publisher.publish(detected(f"t{number}"))
        first = await take(yaoki.events(after=0), 2)

        second = await take(yaoki.events(after=first[-1][1].sequence), 2)

    assert targets(first + second) == ["t0", "t1", "t2", "t3"]


async def test_a_restarted_server_loses_and_repeats_nothing(settings: NatsSettings, nats_server: NatsServer) -> None:
    """A reader in the middle of the stream survives the death of NATS."""
    async with (
        Messaging.connect(settings, service="test", instance="test") as messaging,
        Yaoki.connect(settings, application="reader") as yaoki,
    ):
        events = yaoki.events(FailureDetected, after=0)
        await messaging.publisher.publish(detected("before"))
        seen = await take(events, 1)

        await nats_server.kill()
        await nats_server.start()
        await messaging.publisher.publish(detected("after"))
        seen += await take(events, 1)
        await messaging.publisher.publish(detected("later"))
        seen += await take(events, 1)

    assert targets(seen) == ["before", "after", "later"]


async def test_a_body_that_is_no_event_stops_nobody(settings: NatsSettings) -> None:
    """It is passed over; what follows arrives."""
    async with (
        Messaging.connect(settings, service="test", instance="test") as messaging,
        Yaoki.connect(settings, application="reader") as yaoki,
    ):
        subject = messaging.subjects.event("probe", "t", "failure-detected")
        await messaging.client.jetstream().publish(subject, b"\xff\x00 noise")
        await messaging.publisher.publish(detected("after"))

        seen = await take(yaoki.events(FailureDetected, after=0), 1)

    assert targets(seen) == ["after"]

"""A real NATS server for each test, provisioned, with one service on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio
from yaoki.epoch import Epoch
from yaoki.events.agent import ServerStarted
from yaoki.messaging import Messaging, NatsSettings
from yaoki.messaging.delivery import DeliveryPolicy
from yaoki.provision import provision
from yaoki.topology import TOPOLOGY, ConsumerSpec, Topology, event_filters
from yaoki_devstack.nats import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

FAST_RETRIES = DeliveryPolicy(attempts=3, transient_attempts=6, delays_s=(0.2, 0.4, 0.8), dead_letter_delay_s=0.2)

TEST_CONSUMER = ConsumerSpec(
    durable="recovery-starts",
    stream="EVENTS",
    filters=event_filters(ServerStarted),
    # As in production: a machine that stands still for a second must not have messages delivered twice.
    ack_wait_s=30.0,
    max_deliver=30,
    max_ack_pending=64,
)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[NatsServer]:
    """A server that the test may break."""
    async with NatsServer() as running:
        yield running


@pytest.fixture
def settings(server: NatsServer) -> NatsSettings:
    """How to reach it."""
    return NatsSettings(servers=(server.url,), monitoring_url=server.monitor_url)


@pytest_asyncio.fixture
async def provisioned(settings: NatsSettings) -> NatsSettings:
    """The whole topology, and a consumer of `ServerStarted`."""
    await provision(settings, with_test_consumer())
    return settings


@pytest_asyncio.fixture
async def messaging(provisioned: NatsSettings) -> AsyncIterator[Messaging]:
    """One connected service with fast retries; handlers are registered by the test."""
    connecting = Messaging.connect(provisioned, service="recovery", instance="recovery-1", policy=FAST_RETRIES)
    async with connecting as connected:
        yield connected


@pytest.fixture
def started() -> Callable[[str], ServerStarted]:
    """Builds an event; the member tells them apart."""

    def build(member: str = "pg-a") -> ServerStarted:
        return ServerStarted(agent="agent-pg-a", cluster="orders", member=member, epoch=Epoch(1, 1), role="primary")

    return build


async def shorten_ack_wait(settings: NatsSettings, seconds: float) -> None:
    """Have the test consumer deliver again after `seconds`; before anybody is bound to it."""
    await provision(settings, with_test_consumer(msgspec.structs.replace(TEST_CONSUMER, ack_wait_s=seconds)))


def with_test_consumer(spec: ConsumerSpec = TEST_CONSUMER) -> Topology:
    """The topology of production and one consumer more."""
    return Topology(streams=TOPOLOGY.streams, buckets=TOPOLOGY.buckets, consumers=(*TOPOLOGY.consumers, spec))

"""Real NATS for tests of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import provision
from yaoki_devstack.nats import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[NatsServer]:
    """One for the module, provisioned; do not break it."""
    async with NatsServer() as running:
        await provision(NatsSettings(servers=(running.url,), monitoring_url=running.monitor_url))
        yield running


@pytest_asyncio.fixture
async def messaging(server: NatsServer) -> AsyncIterator[Messaging]:
    """One connection."""
    settings = NatsSettings(servers=(server.url,), monitoring_url=server.monitor_url)
    async with Messaging.connect(settings, service="recovery", instance="recovery-1") as connected:
        yield connected

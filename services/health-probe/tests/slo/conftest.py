"""What the tests of the slo role share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from yaoki_devstack.nats import NatsServer

from .world import FixedClock, World, world_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

START = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)
"""A Monday noon in Tokyo."""


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with NatsServer() as server, world_on(server, tmp_path) as made:
        yield made

"""A Redis master is lost."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from yaoki.events.runs import Ending
from yaoki.testing import eventually
from yaoki_devstack.errors import CommandFailedError

from .harness import RescueSystem
from .harness.configuration import GROUP

if TYPE_CHECKING:
    from yaoki_devstack.redis import RedisServer

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


async def test_a_killed_master_is_replaced_and_returns_as_a_replica() -> None:
    async with RescueSystem(standbys=None, redis=True) as system:
        master, replica = system.redis
        await master.cli("SET", "kept", "value")
        await eventually(lambda: _has(replica, "value"), within=10)
        before = await system.route(GROUP)
        assert before is not None

        await master.kill()
        after = await system.wait_primary("redis2", cluster=GROUP)
        ended = await system.finished()

        assert ended.ending is Ending.COMPLETED, ended.reason
        assert after.epoch > before.epoch
        assert (await replica.cli("GET", "kept")).strip() == "value"
        assert (await replica.cli("SET", "written", "after")).strip() == "OK"
        await eventually(lambda: _follows(master), within=60, poll=0.2)


async def _has(server: RedisServer, value: str) -> bool:
    return (await server.cli("GET", "kept")).strip() == value


async def _follows(server: RedisServer) -> bool:
    with suppress(CommandFailedError):  # its agent has not started it again yet
        state = await server.replication()
        return state.get("role") == "slave" and state.get("master_link_status") == "up"
    return False

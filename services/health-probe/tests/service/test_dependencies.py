"""One cause, one alarm, on real servers: what depends on a failed target raises no failure of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from yaoki.testing import eventually
from yaoki_devstack.proxy import TcpProxy

if TYPE_CHECKING:
    from yaoki_devstack.redis import RedisServer

    from .conftest import ProbedSystem

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TOLD = ["FailureDetected", "FailureCleared"]


def redis(port: int, *causes: str) -> dict[str, Any]:
    target = {"kind": "redis", "host": "127.0.0.1", "port": port, "password": "env:YAOKI_TEST_SECRET"}
    return {**target, "depends_on": list(causes)}


async def failures(system: ProbedSystem, target: str) -> list[str]:
    """What was told of failures, oldest first; suspicions are no alarms."""
    return [name for name in await system.told(target) if name in TOLD]


async def wait_failures(system: ProbedSystem, target: str, *expected: str) -> None:
    async def is_told() -> bool:
        assert await failures(system, target) == list(expected), system.log
        return True

    await eventually(is_told, within=30.0)


async def test_an_effect_is_told_only_when_it_outlives_its_cause(
    system: ProbedSystem, redis_server: RedisServer
) -> None:
    """Both break together; the cause is repaired, the effect is not, and then it is."""
    async with TcpProxy(redis_server.port) as to_db, TcpProxy(redis_server.port) as to_api:
        targets = {
            "db": redis(to_db.port),
            "api": redis(redis_server.port, "db"),
            "shop": redis(to_api.port, "api"),
        }
        system.configure(targets)
        await system.start(*((name, "healthy") for name in targets))

        await to_db.cut()
        await to_api.cut()
        await wait_failures(system, "db", "FailureDetected")
        await system.wait_state("shop", "failed")
        assert await failures(system, "shop") == []

        await to_db.restore()
        await wait_failures(system, "db", *TOLD)
        await wait_failures(system, "shop", "FailureDetected")
        await to_api.restore()
        await wait_failures(system, "shop", *TOLD)
    assert await failures(system, "api") == []


async def test_a_failure_with_a_healthy_dependency_does_not_wait_for_its_next_beat(
    system: ProbedSystem, redis_server: RedisServer
) -> None:
    """The dependency is probed once a day; it is looked at as soon as somebody asks for it."""
    async with TcpProxy(redis_server.port) as way:
        daily = {**redis(redis_server.port), "interval": "24h", "suspect_interval": "1s"}
        system.configure({"db": daily, "shop": redis(way.port, "db")})
        await system.start(("shop", "healthy"))
        assert await system.view("db") is None

        await way.cut()

        await system.wait_state("db", "healthy")
        await wait_failures(system, "shop", "FailureDetected")
        await way.restore()
        await wait_failures(system, "shop", *TOLD)

"""A failure on real servers, from suspicion to clearing, through deaths of the prober and of NATS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from yaoki.events.probe import ErrorClass, FailureCleared, FailureDetected, FailureType, TargetSuspected
from yaoki.testing import eventually
from yaoki_devstack.proxy import TcpProxy

if TYPE_CHECKING:
    from yaoki.commands.probe import TargetHealth
    from yaoki_devstack.postgres_cluster import PostgresCluster
    from yaoki_devstack.redis import RedisServer

    from .conftest import ProbedSystem

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


def cache(port: int, **more: Any) -> dict[str, Any]:
    return {"kind": "redis", "host": "127.0.0.1", "port": port, "password": "env:YAOKI_TEST_SECRET", **more}


async def wait_told(system: ProbedSystem, target: str, expected: list[str]) -> None:
    async def is_told() -> bool:
        assert await system.told(target) == expected
        return True

    await eventually(is_told, within=20.0)


async def test_a_killed_database_is_suspected_detected_and_cleared(
    system: ProbedSystem, postgres_server: PostgresCluster
) -> None:
    server = postgres_server.primary
    target = {"kind": "postgres", "host": server.host, "port": server.port, "user": "yaoki_app", "database": "app"}
    system.configure({"orders-db": {**target, "password": "env:YAOKI_TEST_DB"}})
    await system.start(("orders-db", "healthy"))

    await server.kill()
    failed = await system.wait_state("orders-db", "failed")
    await server.start()
    await system.wait_state("orders-db", "healthy")

    await wait_told(system, "orders-db", ["TargetSuspected", "FailureDetected", "FailureCleared"])
    suspected, detected, cleared = await system.verdicts("orders-db")
    assert isinstance(suspected, TargetSuspected)
    assert isinstance(detected, FailureDetected)
    assert isinstance(cleared, FailureCleared)
    assert {event.incident_id for event in (suspected, detected, cleared)} == {failed.incident_id}
    assert detected.failure_type is FailureType.DATABASE_CONNECTION
    assert (detected.failures, detected.vantage, detected.region) == (3, "local", "local")
    assert len(detected.evidence) == 3
    # The first of them may have been under way when the server was killed.
    assert [result.error_class for result in detected.evidence[1:]] == [ErrorClass.REFUSED] * 2
    assert suspected.evidence == detected.evidence[:1]
    assert detected.first_failed_at == detected.evidence[0].at == cleared.down_since
    assert cleared.downtime_s == (cleared.evidence[-1].at - cleared.down_since).total_seconds()
    assert "app-secret" not in system.log


async def test_a_prober_killed_in_an_incident_tells_each_verdict_once(
    system: ProbedSystem, redis_server: RedisServer, whole_story: list[str]
) -> None:
    system.configure({"cache": cache(redis_server.port)})
    await system.start(("cache", "healthy"))
    await redis_server.kill()
    await system.wait_state("cache", "failed")

    await system.kill()
    before = await system.view("cache")
    assert before is not None
    system.launch()

    async def looked_again() -> TargetHealth:
        view = await system.wait_state("cache", "failed")
        assert view.last.at > before.last.at
        return view

    again = await eventually(looked_again, within=20.0)
    await redis_server.start()
    await system.wait_state("cache", "healthy")

    assert again is not None
    assert again.incident_id == before.incident_id
    assert again.since == before.since
    await wait_told(system, "cache", whole_story)
    assert len({event.incident_id for event in await system.verdicts("cache")}) == 1


@pytest.mark.parametrize(
    ("point", "passes"),
    [
        ("health-probe.verdict-published", 1),
        ("health-probe.verdict-written", 2),
        ("health-probe.verdict-published", 2),
        ("health-probe.verdict-written", 3),
    ],
)
async def test_a_prober_that_dies_while_it_tells_neither_loses_nor_doubles(
    system: ProbedSystem, redis_server: RedisServer, whole_story: list[str], point: str, passes: int
) -> None:
    """It kills itself before or after the first, second or third event is stored; the target recovers meanwhile.

    Where only the suspicion is to be told, the failure is never reached: a verdict is stored with all that it has to
    tell, so that a slow NATS would have both of them told by the next life.
    """
    needed = 1000 if passes == 1 else 3
    system.configure({"cache": cache(redis_server.port, unhealthy_after=needed)})
    system.launch(fault=f"{point}:kill:{passes}")
    await system.wait_state("cache", "healthy")
    await redis_server.kill()
    if passes == 3:
        await wait_told(system, "cache", whole_story[:2])
        await redis_server.start()

    await eventually(lambda: not system.processes.running("prober-1"), within=20.0)
    if not redis_server.running:
        await redis_server.start()
    await system.start(("cache", "healthy"))

    expected = whole_story[:1] if passes == 1 else whole_story
    await wait_told(system, "cache", expected)


async def test_verdicts_of_a_nats_outage_are_told_after_it(
    system: ProbedSystem, redis_server: RedisServer, whole_story: list[str]
) -> None:
    """A whole failure and the beginning of the next happen while NATS is away."""
    async with TcpProxy(redis_server.port) as path:
        system.configure({"cache": cache(path.port), "steady": cache(redis_server.port)})
        await system.start(("cache", "healthy"), ("steady", "healthy"))
        await system.nats.kill()
        await path.cut()
        await wait_page(system, "cache", "unhealthy")
        await path.restore()
        await wait_page(system, "cache", "healthy")
        await path.cut()
        await wait_page(system, "cache", "unhealthy")

        await system.nats.start()
        await wait_told(system, "cache", [*whole_story, *whole_story[:2]])
        await system.wait_state("cache", "failed")
        await path.restore()
        await wait_told(system, "cache", whole_story * 2)
    assert await system.told("steady") == []


async def wait_page(system: ProbedSystem, target: str, status: str) -> None:
    """What the prober itself says, while nobody else can be asked."""

    async def says() -> bool:
        try:
            page = (await system.get("/health/detailed")).json()
        except httpx.TransportError as exc:
            raise AssertionError(str(exc)) from exc
        return bool(page["components"]["redis"]["targets"][target]["status"] == status)

    await eventually(says, within=20.0)


async def test_nats_restarted_between_detection_and_clearing(
    system: ProbedSystem, redis_server: RedisServer, whole_story: list[str]
) -> None:
    system.configure({"cache": cache(redis_server.port)})
    await system.start(("cache", "healthy"))
    await redis_server.kill()
    await system.wait_state("cache", "failed")
    await asyncio.gather(system.nats.restart(), redis_server.start())

    await system.wait_state("cache", "healthy")
    await wait_told(system, "cache", whole_story)

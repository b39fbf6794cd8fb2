"""The Redis probe against real servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from health_probe.probes.redis import RedisCheck
from health_probe.routes import FixedEndpoint
from yaoki.events.probe import ErrorClass, ProbeResult, ProbeStatus
from yaoki.flags import Endpoint
from yaoki.testing import eventually
from yaoki_devstack.proxy import TcpProxy

if TYPE_CHECKING:
    from health_probe.adapters.network import Network
    from yaoki_devstack.redis import RedisServer

pytestmark = pytest.mark.real


def check(network: Network, server: RedisServer, *, password: str | None = None, port: int | None = None) -> RedisCheck:
    endpoint = Endpoint(member=server.name, host=server.host, port=port or server.port)
    return RedisCheck(
        network=network, user=None, password=password or server.password, endpoints=FixedEndpoint(endpoint)
    )


async def test_a_master_takes_a_key_and_keeps_nothing(redis_server: RedisServer, network: Network, run: Any) -> None:
    result = await run(check(network, redis_server))

    assert result.status is ProbeStatus.HEALTHY, result
    assert result.facts["role"] == "master"
    assert await redis_server.cli("DBSIZE") == "0"


async def test_a_replica_in_place_of_the_master_is_unhealthy(
    redis_pair: tuple[RedisServer, RedisServer], network: Network, run: Any
) -> None:
    master, replica = redis_pair

    async def has_its_replica() -> bool:
        result = await run(check(network, master))
        assert result.status is ProbeStatus.HEALTHY
        return bool(result.facts["replicas"] == 1)

    await eventually(has_its_replica)
    of_replica = await run(check(network, replica))

    assert (of_replica.status, of_replica.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.PROTOCOL)
    assert "is a replica" in of_replica.detail


@pytest.mark.parametrize("password", ["wrong-secret", None])
async def test_a_login_that_is_refused_is_an_auth_failure(
    redis_server: RedisServer, network: Network, run: Any, password: str | None
) -> None:
    endpoint = Endpoint(member="redis", host=redis_server.host, port=redis_server.port)
    probe = RedisCheck(network=network, user=None, password=password, endpoints=FixedEndpoint(endpoint))

    result = await run(probe)

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.AUTH), result
    assert "wrong-secret" not in repr(result)


async def test_a_full_memory_is_a_capacity_failure(redis_server: RedisServer, network: Network, run: Any) -> None:
    """PING would still be answered."""
    await redis_server.cli("CONFIG", "SET", "maxmemory", "1")

    result = await run(check(network, redis_server))

    assert (result.status, result.error_class, result.phase) == (
        ProbeStatus.UNHEALTHY,
        ErrorClass.CAPACITY,
        "set",
    )


def at_login(result: ProbeResult) -> bool:
    return result.phase == "login"


async def test_paused_killed_and_silent_servers(
    redis_server: RedisServer, network: Network, run: Any, run_out: Any
) -> None:
    async with TcpProxy(redis_server.port) as proxy:
        through = await run(check(network, redis_server, port=proxy.port))
        proxy.blackhole()
        silent = await run_out(check(network, redis_server, port=proxy.port), at_login)
    await redis_server.pause()
    paused = await run_out(check(network, redis_server), at_login)
    await redis_server.resume()
    await redis_server.kill()
    killed = await run(check(network, redis_server))

    assert through.status is ProbeStatus.HEALTHY
    assert [(silent.error_class, silent.phase), (paused.error_class, paused.phase)] == [
        (ErrorClass.TIMEOUT, "login")
    ] * 2
    assert (killed.error_class, killed.phase) == (ErrorClass.REFUSED, "connect")

"""A cache that may vanish: real Redis."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from yaoki.epoch import Epoch
from yaoki.flags import Endpoint, Route, RouteState, Switch, caching_key, route_key
from yaoki.sdk import Cache
from yaoki.sdk.routes import RouteWatch
from yaoki.testing import InMemoryKeyValue, eventually, patient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki_devstack.redis import RedisServer

pytestmark = pytest.mark.real


async def publish(
    flags: InMemoryKeyValue, counter: int, server: RedisServer, state: RouteState = RouteState.SERVING
) -> None:
    endpoint = Endpoint(member=server.name, host=server.host, port=server.port)
    route = Route(cluster="cache", state=state, epoch=Epoch(1, counter), primary=endpoint, since=datetime.now(UTC))
    await flags.put(route_key("cache"), msgspec.json.encode(route))


@asynccontextmanager
async def opened(flags: InMemoryKeyValue, server: RedisServer, timeout_s: float | None = None) -> AsyncIterator[Cache]:
    """A cache that gives a server up late, unless told otherwise: the machine may be busy."""
    routes = RouteWatch(flags, "cache")
    timeout_s = timeout_s or patient(5)
    async with Cache(routes, flags, password=server.password, timeout_s=timeout_s) as cache:
        await eventually(lambda: routes.route is not None)
        yield cache


class Source:
    """What the cache stands in front of; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def load(self) -> bytes:
        """Answer."""
        self.asked += 1
        return b"value"


async def test_a_value_is_loaded_once_and_then_cached(redis_server: RedisServer) -> None:
    """That is what a cache is for."""
    flags, source = InMemoryKeyValue(), Source()
    await publish(flags, 1, redis_server)
    async with opened(flags, redis_server) as cache:
        for _ in range(3):
            assert await cache.get_or_load("key", source.load, ttl_s=60) == b"value"

    assert source.asked == 1


async def test_a_dead_redis_costs_nothing_but_speed(redis_server: RedisServer) -> None:
    """Every read goes to the source; nothing is raised."""
    flags, source = InMemoryKeyValue(), Source()
    await publish(flags, 1, redis_server)
    async with opened(flags, redis_server) as cache:
        await redis_server.kill()

        assert await cache.get_or_load("key", source.load, ttl_s=60) == b"value"
        assert not await cache.put("key", b"value", ttl_s=60)
        assert not await cache.forget("key")

    assert source.asked == 1


async def test_a_hanging_redis_is_given_up_quickly(redis_server: RedisServer) -> None:
    """A cache slower than its source is none."""
    flags, source = InMemoryKeyValue(), Source()
    await publish(flags, 1, redis_server)
    async with opened(flags, redis_server, timeout_s=0.25) as cache:
        await redis_server.pause()

        assert await cache.get_or_load("key", source.load, ttl_s=60) == b"value"
        await redis_server.resume()

    assert source.asked == 1


async def test_the_flag_disables_caching_and_enables_it_again(redis_server: RedisServer) -> None:
    """While the switch is on, Redis is not asked at all."""
    flags, source = InMemoryKeyValue(), Source()
    await publish(flags, 1, redis_server)
    async with opened(flags, redis_server) as cache:
        assert await cache.put("key", b"cached", ttl_s=60)

        await switch(flags, on=True)
        await eventually(lambda: _reads(cache, None))
        assert await cache.get_or_load("key", source.load, ttl_s=60) == b"value"

        await switch(flags, on=False)
        await eventually(lambda: _reads(cache, b"cached"))

    assert source.asked == 1


async def _reads(cache: Cache, expected: bytes | None) -> bool:
    return await cache.get("key") == expected


async def _has(server: RedisServer, expected: str) -> bool:
    return await server.cli("GET", "key") == expected


async def switch(flags: InMemoryKeyValue, *, on: bool) -> None:
    value = Switch(on=on, by="test", since=datetime.now(UTC))
    await flags.put(caching_key("cache"), msgspec.json.encode(value))


async def test_the_cache_follows_its_master_and_asks_nobody_in_between(
    redis_pair: tuple[RedisServer, RedisServer],
) -> None:
    """Cut, then to the new master."""
    old, new = redis_pair
    flags = InMemoryKeyValue()
    await publish(flags, 1, old)
    async with opened(flags, old) as cache:
        assert await cache.put("key", b"cached", ttl_s=60)
        await eventually(lambda: _has(new, "cached"))
        await publish(flags, 2, old, RouteState.CUT)
        await eventually(lambda: _reads(cache, None))

        await new.cli("REPLICAOF", "NO", "ONE")
        await publish(flags, 3, new)
        await eventually(lambda: _reads(cache, b"cached"))
        assert await cache.put("key", b"newer", ttl_s=60)
        assert await new.cli("GET", "key") == "newer"

"""A Redis cache that may vanish at any moment without hurting anybody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from yaoki.flags import RouteState, caching_key
from yaoki.sdk.maintenance import SwitchWatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from yaoki.epoch import Epoch
    from yaoki.messaging.ports import KeyValue
    from yaoki.sdk.routes import RouteWatch

_log = structlog.get_logger(__name__)
_FAILURES: Final = (RedisError, OSError, TimeoutError)


class Cache:
    """Reads through to its source whenever the cache is disabled, unreachable, cut off or simply empty.

    It follows the group's route, so a failover of Redis needs no restart, and it never raises: a cache that fails
    is a slow answer, not an error.

    Args:
        routes: Route of the Redis group.
        flags: Bucket `flags`, for the switch that disables caching.
        password: Of the Redis servers.
        timeout_s: How long one call to Redis may take, seconds; a cache that is slower than its source is none.
        prefix: Put before every key.
    """

    def __init__(
        self,
        routes: RouteWatch,
        flags: KeyValue,
        *,
        password: str | None = None,
        timeout_s: float = 0.25,
        prefix: str = "",
    ) -> None:
        self._routes = routes
        self._disabled = SwitchWatch(flags, caching_key(routes.cluster))
        self._password = password
        self._timeout_s = timeout_s
        self._prefix = prefix
        self._client: tuple[Epoch, Redis] | None = None

    async def __aenter__(self) -> Self:
        await self._routes.start()
        await self._disabled.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._disabled.stop()
        await self._routes.stop()
        if self._client:
            await self._client[1].aclose()

    async def reset(self) -> int:
        """Use a new connection pool from now on; 1 if there was one, else 0."""
        if self._client is None:
            return 0
        (_, client), self._client = self._client, None
        await client.aclose()
        return 1

    async def get_or_load(self, key: str, load: Callable[[], Awaitable[bytes]], *, ttl_s: int) -> bytes:
        """The cached value, or what `load` returns, which is then kept for `ttl_s` seconds."""
        cached = await self.get(key)
        if cached is not None:
            return cached
        value = await load()
        await self.put(key, value, ttl_s=ttl_s)
        return value

    async def get(self, key: str) -> bytes | None:
        """The cached value, or None for whatever reason."""
        client = await self._redis()
        if client is None:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                value = await client.get(self._prefix + key)
        except _FAILURES as error:
            _log.debug("cache read failed", error=type(error).__name__)
            return None
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes, *, ttl_s: int) -> bool:
        """Keep a value for `ttl_s` seconds; whether that worked."""
        client = await self._redis()
        if client is None:
            return False
        try:
            async with asyncio.timeout(self._timeout_s):
                await client.set(self._prefix + key, value, ex=ttl_s)
        except _FAILURES as error:
            _log.debug("cache write failed", error=type(error).__name__)
            return False
        return True

    async def forget(self, key: str) -> bool:
        """Remove a value; whether that is certain. A False may leave a stale value until its time is over."""
        client = await self._redis()
        if client is None:
            return False
        try:
            async with asyncio.timeout(self._timeout_s):
                await client.delete(self._prefix + key)
        except _FAILURES as error:
            _log.debug("cache removal failed", error=type(error).__name__)
            return False
        return True

    async def _redis(self) -> Redis | None:
        """The client of the newest route; None while there is nobody to ask."""
        route = self._routes.route
        if self._disabled.on() or route is None or route.primary is None or route.state is RouteState.CUT:
            return None
        if self._client and self._client[0] == route.epoch:
            return self._client[1]
        if self._client:
            await self._client[1].aclose()
        client = Redis(
            host=route.primary.host,
            port=route.primary.port,
            password=self._password,
            socket_connect_timeout=self._timeout_s,
            socket_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._client = (route.epoch, client)
        return client

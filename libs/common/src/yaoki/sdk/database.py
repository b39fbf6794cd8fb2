"""A PostgreSQL cluster as an application sees it: one object that goes on working through a failover."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import structlog

from yaoki.errors import TransientError
from yaoki.sdk.pools import (
    CONNECTION_LOST,
    PRIMARY_LIMITS,
    REPLICA_LIMITS,
    Connection,
    Credentials,
    PoolLimits,
    ServerPool,
)
from yaoki.sdk.routing import ReplicaRing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from yaoki.epoch import Epoch
    from yaoki.flags import Endpoint
    from yaoki.sdk.routes import RouteWatch

_log = structlog.get_logger(__name__)

_RETRY_S = 0.1

__all__ = ["Credentials", "Database", "PoolLimits"]


class Database:
    """Writes go to the primary of the newest epoch, reads to the replicas in turn.

    During a failover `primary()` waits until the new primary is published, then hands out a connection to it;
    connections to the old one are dropped at once. What was in flight there fails with the driver's error, and
    whether a commit in flight took effect is unknown: make writes idempotent (a key of your own) and repeat them.

    Args:
        routes: The cluster's route; started and stopped with this object.
        credentials: How to log in, the same on every member.
        primary_limits: Pool to the primary, by default 20 connections and 30 more under load.
        replica_limits: Pool to each replica, by default 15 and 20 more.
    """

    def __init__(
        self,
        routes: RouteWatch,
        credentials: Credentials,
        *,
        primary_limits: PoolLimits = PRIMARY_LIMITS,
        replica_limits: PoolLimits = REPLICA_LIMITS,
    ) -> None:
        self._routes = routes
        self._credentials = credentials
        self._primary_limits = primary_limits
        self._replica_limits = replica_limits
        self._primary: tuple[Epoch, ServerPool] | None = None
        self._replicas: dict[Endpoint, ServerPool] = {}
        self._ring = ReplicaRing()

    async def __aenter__(self) -> Self:
        await self._routes.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._routes.stop()
        pools = [*self._replicas.values(), *([self._primary[1]] if self._primary else [])]
        await asyncio.gather(*(pool.close() for pool in pools))

    @asynccontextmanager
    async def primary(self, *, within_s: float = 10.0) -> AsyncIterator[Connection]:
        """A connection to the primary.

        Args:
            within_s: How long to wait for one, e.g. through a failover, seconds. Waiting callers queue here and
                do not reach the database, so that a failover does not end in a storm of retries.

        Raises:
            TransientError: There was no primary, or no free connection, in that time.
        """
        pool, connection = await self._to_primary(within_s)
        try:
            yield connection
        finally:
            await pool.release(connection)

    @asynccontextmanager
    async def replica(self, *, within_s: float = 10.0) -> AsyncIterator[Connection]:
        """A connection to a replica in turn; to the primary when no replica answers.

        What is read may lag behind what was written. Read your own writes through `primary()`.

        Raises:
            TransientError: Neither a replica nor the primary gave a connection in time.
        """
        deadline = time.monotonic() + within_s
        pool, connection = await self._to_replica(deadline) or await self._to_primary(
            max(0.0, deadline - time.monotonic())
        )
        try:
            yield connection
        finally:
            await pool.release(connection)

    async def reset(self, *, within_s: float = 30.0) -> int:
        """Use new pools from now on, and close the present ones; how many there were.

        Helps against connections that were leaked, are stuck, or end at a server that is not what it was.

        Args:
            within_s: How long connections in use may take to come back before they are dropped, seconds.
        """
        pools = [*self._replicas.values(), *([self._primary[1]] if self._primary else [])]
        self._replicas = {}
        self._primary = None
        await asyncio.gather(*(pool.close(within_s) for pool in pools))
        return len(pools)

    async def _to_primary(self, within_s: float) -> tuple[ServerPool, Connection]:
        deadline = time.monotonic() + within_s
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            endpoint, route = await self._routes.writable(remaining)
            pool = self._primary_pool(endpoint, route.epoch)
            try:
                return pool, await pool.acquire(min(remaining, self._primary_limits.connect_timeout_s))
            except CONNECTION_LOST as error:
                if time.monotonic() + _RETRY_S >= deadline:
                    raise TransientError(
                        f"primary {endpoint.member!r} of cluster {self._routes.cluster!r} gave no connection "
                        f"within {within_s:g} s: {type(error).__name__}"
                    ) from error
                await self._routes.wait_beyond(route, _RETRY_S)

    async def _to_replica(self, deadline: float) -> tuple[ServerPool, Connection] | None:
        limits = self._replica_limits
        while (endpoint := self._next_replica()) is not None:
            pool = self._replicas.get(endpoint) or ServerPool(endpoint, self._credentials, limits)
            self._replicas[endpoint] = pool
            try:
                connection = await pool.acquire(min(max(0.0, deadline - time.monotonic()), limits.connect_timeout_s))
            except CONNECTION_LOST as error:
                _log.warning("replica rests", member=endpoint.member, error=type(error).__name__)
                self._ring.failed(endpoint, time.monotonic())
                continue
            self._ring.succeeded(endpoint)
            return pool, connection
        return None

    def _next_replica(self) -> Endpoint | None:
        route = self._routes.route
        return self._ring.choose(route.replicas if route else (), time.monotonic())

    def _primary_pool(self, endpoint: Endpoint, epoch: Epoch) -> ServerPool:
        """The pool of this epoch. An older epoch's pool is dropped: nothing may be written there any more."""
        if self._primary and self._primary[0] == epoch and self._primary[1].endpoint == endpoint:
            return self._primary[1]
        if self._primary:
            self._primary[1].terminate()
        pool = ServerPool(endpoint, self._credentials, self._primary_limits)
        self._primary = (epoch, pool)
        return pool

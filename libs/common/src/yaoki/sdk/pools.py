"""One asyncpg pool a server, with limits, recycling and a check before use."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, Literal

import asyncpg
import msgspec
from typing_extensions import override

if TYPE_CHECKING:
    from yaoki.flags import Endpoint


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections an application keeps to one server.

    Attributes:
        keep: Connections that stay open.
        overflow: Further ones under load; closed when they were idle for `idle_s`.
        idle_s: See `overflow`, seconds.
        recycle_s: No connection gets older than this, seconds.
        check_after_s: A connection idle for longer is checked by a round trip before use, seconds.
        connect_timeout_s: For one attempt to connect, seconds.
    """

    keep: int = 20
    overflow: int = 30
    idle_s: float = 60.0
    recycle_s: float = 3600.0
    check_after_s: float = 1.0
    connect_timeout_s: float = 2.0


# What asyncpg raises when a server goes away under a query; a commit on its way may or may not have taken effect.
CONNECTION_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

PRIMARY_LIMITS = PoolLimits()
REPLICA_LIMITS = PoolLimits(keep=15, overflow=20)

Connection = asyncpg.pool.PoolConnectionProxy  # asyncpg's stand-in for a pooled connection


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """How an application logs in. The password never appears in a representation."""

    user: str
    password: str
    database: str
    ssl: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = "prefer"

    @override
    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r}, database={self.database!r})"


class ServerPool:
    """Connections to one server. Created cold: nothing is opened before the first use."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials, limits: PoolLimits) -> None:
        self.endpoint = endpoint
        self._limits = limits
        # By process id of the server's side: when it was opened, and when it was used last (monotonic seconds).
        self._born: dict[int, float] = {}
        self._used: dict[int, float] = {}
        self._pool = asyncpg.create_pool(
            host=endpoint.host,
            port=endpoint.port,
            user=credentials.user,
            password=credentials.password,
            database=credentials.database,
            ssl=credentials.ssl,
            min_size=0,
            max_size=limits.keep + limits.overflow,
            max_inactive_connection_lifetime=limits.idle_s,
            timeout=limits.connect_timeout_s,
            init=self._remember,
        )
        self._opening = asyncio.Lock()
        self._open = False

    async def acquire(self, within_s: float) -> Connection:
        """A connection that answered just now or was used a moment ago; give it back with `release`.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says.
        """
        async with asyncio.timeout(within_s):
            await self._ensure_open()
            while True:
                connection: Connection = await self._pool.acquire()
                if await self._fit_or_dropped(connection):
                    return connection

    async def release(self, connection: Connection) -> None:
        """Give a connection back; one that broke is not kept."""
        # One that was dropped with its pool meanwhile is not there to be given back.
        with contextlib.suppress(asyncpg.InterfaceError):
            if not connection.is_closed():
                self._used[connection.get_server_pid()] = time.monotonic()
            await self._pool.release(connection)

    def terminate(self) -> None:
        """Drop every connection at once: their server is no longer to be talked to."""
        self._pool.terminate()

    async def close(self, within_s: float = 5.0) -> None:
        """Wait for connections in use, then close; terminate after `within_s` seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def _ensure_open(self) -> None:
        async with self._opening:
            if not self._open:
                await self._pool
                self._open = True

    async def _fit_or_dropped(self, connection: Connection) -> bool:
        """Whether to hand the connection out; one that is too old or does not answer is dropped instead."""
        now = time.monotonic()
        pid = connection.get_server_pid()
        fresh = pid not in self._used
        fit = False
        try:
            # A connection made for this very call is fit, however short its life may be.
            fit = fresh or now - self._born[pid] < self._limits.recycle_s
            if fit and not fresh and now - self._used[pid] > self._limits.check_after_s:
                await connection.execute("SELECT 1", timeout=self._limits.connect_timeout_s)
        except (*CONNECTION_LOST, asyncpg.PostgresError):
            fit = False
        finally:
            if not fit:
                connection.terminate()
                await self._pool.release(connection)
        return fit

    async def _remember(self, connection: asyncpg.Connection) -> None:
        pid = connection.get_server_pid()
        self._born[pid] = time.monotonic()
        connection.add_termination_listener(lambda _: self._forget(pid))

    def _forget(self, pid: int) -> None:
        self._born.pop(pid, None)
        self._used.pop(pid, None)

"""Clients that write all along and know no control plane: they look for the primary themselves, as libpq does.

So that what is measured is the failover of the servers, and the same clients can stand before any of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any

import asyncpg
from yaoki.sdk.pools import CONNECTION_LOST
from yaoki.testing import eventually

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_CLIENTS = 4
# Whatever is killed refuses at once; the limit is for connections that hang, and generous for a busy machine.
_TIMEOUT_S = 5.0
_BETWEEN_S = 0.01
_AFTER_ERROR_S = 0.02
_STEADY_WRITES = 200
_RESUMED_S = 180.0
_TABLE = "CREATE TABLE IF NOT EXISTS bench_outage (n bigserial PRIMARY KEY, at timestamptz DEFAULT now())"
_WRITE = "INSERT INTO bench_outage DEFAULT VALUES"


class Writers:
    """Writers until closed.

    Args:
        ports: Of all servers, on loopback.
        user: With its password.
        password: Of the user.
        database: To write in.
    """

    def __init__(self, ports: list[int], *, user: str, password: str, database: str) -> None:
        self._arguments: dict[str, Any] = {
            "host": ["127.0.0.1"] * len(ports),
            "port": ports,
            "user": user,
            "password": password,
            "database": database,
            "target_session_attrs": "primary",
            "timeout": _TIMEOUT_S,
        }
        self._acknowledged: list[float] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._write()) for _ in range(_CLIENTS)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def steady(self) -> None:
        """Return when writes are being acknowledged."""
        begun = len(self._acknowledged)
        await eventually(lambda: len(self._acknowledged) >= begun + _STEADY_WRITES, within=_RESUMED_S)

    async def silence_after(self, moment: float) -> float:
        """The longest time without an acknowledgement from `moment` (monotonic) until writes are steady again."""
        await self.steady()
        before = max((at for at in self._acknowledged if at <= moment), default=moment)
        times = [before, *(at for at in self._acknowledged if at > moment)]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    async def _write(self) -> None:
        connection: asyncpg.Connection[Any] | None = None
        while True:
            try:
                if connection is None:
                    connection = await asyncpg.connect(**self._arguments)
                    await connection.execute(_TABLE, timeout=_TIMEOUT_S)
                await connection.execute(_WRITE, timeout=_TIMEOUT_S)
                self._acknowledged.append(time.monotonic())
                await asyncio.sleep(_BETWEEN_S)
            except (*CONNECTION_LOST, asyncpg.PostgresError, asyncpg.TargetServerAttributeNotMatched):
                if connection is not None:
                    with contextlib.suppress(OSError):
                        connection.terminate()
                connection = None
                await asyncio.sleep(_AFTER_ERROR_S)

"""A client that breaks the rules on purpose: it writes to every server all along, whatever the route says."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from yaoki.sdk.pools import CONNECTION_LOST

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from yaoki_devstack.postgres import PostgresServer

_TIMEOUT_S = 1.5
_BETWEEN_S = 0.01
_AFTER_ERROR_S = 0.05
TABLE = "dual_writes"


class Attempt(msgspec.Struct, frozen=True):
    """An acknowledged write; times of one monotonic clock, seconds."""

    number: int
    node: str
    started: float
    acknowledged: float


class DualWriter:
    """Inserts numbered rows into each server until closed; remembers what was acknowledged.

    Attributes:
        attempts: How many writes were begun.
        acknowledged: Those that were acknowledged.
    """

    def __init__(self, nodes: Sequence[PostgresServer]) -> None:
        self._nodes = list(nodes)
        self.attempts = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.acknowledged: list[Attempt] = []

    async def __aenter__(self) -> Self:
        await self._nodes[0].psql(
            f"CREATE TABLE IF NOT EXISTS {TABLE} (n bigint PRIMARY KEY, node text)",
            database="app",
            role="app",
        )
        self._tasks = [asyncio.create_task(self._write_to(node)) for node in self._nodes]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception) and error is None:
                raise ended

    def on(self, node: str) -> list[Attempt]:
        """Acknowledged writes of one server, in order."""
        return [attempt for attempt in self.acknowledged if attempt.node == node]

    def assert_never_two_primaries(self, old: str, new: str) -> None:
        """No write on `old` began after one on `new` was acknowledged and was acknowledged itself."""
        first = min((attempt.acknowledged for attempt in self.on(new)), default=None)
        if first is None:
            return
        late = [attempt for attempt in self.on(old) if attempt.started > first]
        assert not late, f"{old} acknowledged {len(late)} writes after {new} had become the primary: {late[:3]}"

    async def lost(self, node: PostgresServer) -> set[int]:
        """Numbers that were acknowledged before this call and that `node` does not have."""
        acknowledged = {attempt.number for attempt in self.acknowledged}
        rows = await node.psql(f"SELECT n FROM {TABLE}", database="app")  # noqa: S608 - a constant
        return acknowledged - {int(row) for row in rows.split()}

    async def _write_to(self, node: PostgresServer) -> None:
        connection: asyncpg.Connection[Any] | None = None
        while True:
            try:
                connection = connection or await asyncpg.connect(node.dsn("app"), timeout=_TIMEOUT_S)
                await self._insert(connection, node.name)
                await asyncio.sleep(_BETWEEN_S)
            except (*CONNECTION_LOST, asyncpg.PostgresError):
                if connection is not None:
                    with contextlib.suppress(OSError):
                        connection.terminate()
                connection = None
                await asyncio.sleep(_AFTER_ERROR_S)

    async def _insert(self, connection: asyncpg.Connection[Any], node: str) -> None:
        self.attempts += 1
        number, started = self.attempts, time.monotonic()
        await connection.execute(f"INSERT INTO {TABLE} VALUES ($1, $2)", number, node, timeout=_TIMEOUT_S)  # noqa: S608 - a constant
        self.acknowledged.append(Attempt(number, node, started, time.monotonic()))

"""Looks at the local server again and again, so that nobody who is in a hurry has to wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import TransientError

from health_probe.agent.durable import boottime

if TYPE_CHECKING:
    from health_probe.agent.postgres_sql import PostgresSql, ServerView

_STALE_S = 5.0


class Observation(msgspec.Struct, frozen=True):
    """The last view, and when it was asked for (CLOCK_BOOTTIME)."""

    view: ServerView
    at: float


class Observer:
    """The latest view of the local server.

    Args:
        sql: To the local server.
        interval_s: Between two looks.
    """

    def __init__(self, sql: PostgresSql, *, interval_s: float) -> None:
        self._sql = sql
        self._interval_s = interval_s
        self._last: Observation | None = None
        self._position = (0, 0)

    def position(self) -> tuple[int, int]:
        """Timeline and end of WAL, bytes, as last known; never blocks."""
        return self._position

    def recent(self) -> ServerView | None:
        """The last view unless it is old or the server has stopped answering since."""
        if self._last is None or boottime() - self._last.at > _STALE_S:
            return None
        return self._last.view

    async def look(self, timeout_s: float = 2.0) -> ServerView | None:
        """Look now; None when the server does not answer."""
        asked = boottime()
        try:
            view = await self._sql.view(timeout_s)
        except TransientError:
            self._last = None
            return None
        self._last = Observation(view, asked)
        self._position = (view.timeline, view.received)
        return view

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_s)

"""A process as its own code sees it: it may die at any await, and then nothing that it does has any effect."""

from __future__ import annotations

import asyncio
from enum import StrEnum

import msgspec

from yaoki.testing.simulation.virtual_time import VirtualLoop


class CrashPoint(StrEnum):
    """Where a process dies.

    APPEND_LOST: an entry is about to be sent and never is. APPEND_UNSEEN: it is sent, and stored at some moment
    after the death. APPEND_ACKED: it is stored and acknowledged. COMMAND_SENT: an order has reached its worker.
    """

    APPEND_LOST = "append-lost"
    APPEND_UNSEEN = "append-unseen"
    APPEND_ACKED = "append-acked"
    COMMAND_SENT = "command-sent"


class Crash(msgspec.Struct, frozen=True):
    """Death at the `index`-th pass of a point, 1 for the first."""

    point: CrashPoint
    index: int


class Process:
    """One process.

    Args:
        name: Its instance name.
        crash: When it dies by itself; None for never.

    Attributes:
        passes: How often each point was passed.
    """

    def __init__(self, name: str, crash: Crash | None = None) -> None:
        self.name = name
        self.passes: dict[CrashPoint, int] = dict.fromkeys(CrashPoint, 0)
        self._crash = crash
        self._dead = False

    @property
    def dead(self) -> bool:
        """Whether it has died."""
        return self._dead

    def kill(self) -> None:
        """Die."""
        self._dead = True

    async def alive(self) -> None:
        """Return while the process lives; its code never gets beyond this once it is dead."""
        if self._dead:
            loop = asyncio.get_running_loop()
            await (loop.never() if isinstance(loop, VirtualLoop) else loop.create_future())

    def passing(self, point: CrashPoint) -> bool:
        """Whether the process dies of passing this point."""
        self.passes[point] += 1
        if self._crash is None or self._crash.point is not point or self._crash.index != self.passes[point]:
            return False
        self._dead = True
        return True

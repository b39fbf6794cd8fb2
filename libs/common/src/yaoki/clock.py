"""Time and identity as ports, so that a simulation can own both."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """Where time comes from. `now` may jump (it is the wall clock); `monotonic` never goes back."""

    def now(self) -> datetime:
        """The wall clock, always aware and in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that includes the time a machine was suspended."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock."""
        ...


class IdSource(Protocol):
    """Where identities come from."""

    def new(self) -> str:
        """A new identity that sorts by time of creation (UUIDv7 in its canonical form)."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See `Clock.monotonic`. CLOCK_BOOTTIME, because a suspended machine's lease goes on lapsing."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)


class Uuid7Source:
    """UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then randomness."""

    def new(self) -> str:
        """See `IdSource.new`."""
        milliseconds = time.time_ns() // 1_000_000
        value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(os.urandom(10))
        value = value & ~(0xF << 76) | 0x7 << 76
        value = value & ~(0x3 << 62) | 0x2 << 62
        return str(UUID(int=value))

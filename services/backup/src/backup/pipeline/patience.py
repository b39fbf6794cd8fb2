"""Waiting for a store that does not answer, and not asking it for more than was agreed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from backup.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yaoki.clock import Clock

T = TypeVar("T")

PATIENCE_S: Final = 300.0
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 15.0


class Patience:
    """Repeats a call over StoreUnavailableError.

    Args:
        clock: Measures and waits.
        limit_s: How long a single call is repeated, seconds.
    """

    def __init__(self, clock: Clock, limit_s: float = PATIENCE_S) -> None:
        self._clock = clock
        self._limit_s = limit_s

    async def over(self, call: Callable[[], Awaitable[T]]) -> T:
        """What `call` returns at last.

        Raises:
            StoreUnavailableError: The store stayed away for longer than the limit.
        """
        deadline = self._clock.monotonic() + self._limit_s
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return await call()
            except StoreUnavailableError:
                if self._clock.monotonic() + pause > deadline:
                    raise
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


class Throttle:
    """Spreads bytes over time.

    Args:
        clock: Measures and waits.
        bytes_per_s: None for as fast as it goes.
    """

    def __init__(self, clock: Clock, bytes_per_s: int | None) -> None:
        self._clock = clock
        self._rate = bytes_per_s
        self._free_at = clock.monotonic()

    async def take(self, size: int) -> None:
        """Return when `size` bytes may be sent; what was sent before is paid first."""
        if self._rate is None:
            return
        now = self._clock.monotonic()
        start = max(now, self._free_at)
        self._free_at = start + size / self._rate
        if start > now:
            await self._clock.sleep(start - now)

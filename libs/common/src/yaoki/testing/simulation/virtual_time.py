"""An event loop whose time stands still while anything can run, and jumps to the next timer when nothing can."""

from __future__ import annotations

import asyncio
import selectors
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Coroutine

R = TypeVar("R")

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class StuckError(AssertionError):
    """Every task waits for something that will never happen."""


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting, lets the time have passed. There are no sockets and no threads to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("no timer is set and nothing can run")
        if timeout > 0:
            self.now += max(timeout, 1e-6)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._never: list[asyncio.Future[None]] = []

    def never(self) -> asyncio.Future[None]:
        """What never happens; referred to from here, or the task that waits for it is collected as garbage."""
        self._never.append(self.create_future())
        return self._never[-1]

    @override
    def time(self) -> float:
        return self._jumping.now


class VirtualClock:
    """The loop's time as a `Clock`."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return BEGINNING + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)


def run_virtually(work: Coroutine[Any, Any, R]) -> R:
    """Run `work` to its end; hours pass in milliseconds. What is left running is cancelled."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)

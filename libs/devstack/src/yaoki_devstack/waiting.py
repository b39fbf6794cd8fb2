"""Wait for a condition with a deadline; nothing in this package sleeps for a fixed time."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.01
# Deadlines are there to end what hangs, not to measure: a machine shared with others gets more of them.
_PATIENCE = float(os.environ.get("YAOKI_PATIENCE", "1"))


def patient(seconds: float) -> float:
    """Return a deadline stretched by the environment's YAOKI_PATIENCE."""
    return seconds * _PATIENCE


async def until(condition: Callable[[], Awaitable[bool]], *, within: float) -> bool:
    """Ask `condition` until it says yes; return False when it has not within `patient(within)` seconds."""
    deadline = time.monotonic() + patient(within)
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True

"""An event loop whose time jumps to the next timer as soon as nothing is left to do: leases without waiting for them.

For code that only computes, writes files and waits: what waits for a socket or a thread would see hours pass.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from health_probe.agent import durable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

_NOBODY_WAITS_S = 0.01


@contextmanager
def virtual_time(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Until the end, the running loop and `boottime` go by a clock that a machine standing still does not move."""
    loop: Any = asyncio.get_running_loop()
    selector = loop._selector  # noqa: SLF001 - where the loop waits; it has no public name
    really_select = selector.select
    now = loop.time()

    def select(timeout: float | None) -> Any:
        nonlocal now
        ready = really_select(0 if timeout is not None else _NOBODY_WAITS_S)
        if not ready and timeout is not None:
            now += timeout
        return ready

    patch.setattr(selector, "select", select)
    patch.setattr(loop, "time", lambda: now)
    clock = SimpleNamespace(clock_gettime=lambda _clock: now, CLOCK_BOOTTIME=time.CLOCK_BOOTTIME)
    patch.setattr(durable, "time", clock)
    yield
    patch.undo()

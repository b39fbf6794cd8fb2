"""Ending background tasks for certain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_AGAIN_S = 0.5


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` until every one has ended; what they raise is dropped.

    Once is not enough: `asyncio.wait_for` before Python 3.12, which nats-py awaits in each request, swallows a
    cancellation that arrives together with the answer, and the task goes on for ever.
    """
    ending = list(tasks)
    pending = {task for task in ending if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
    for task in ending:
        if not task.cancelled():
            task.exception()  # fetched, or asyncio complains that nobody looked

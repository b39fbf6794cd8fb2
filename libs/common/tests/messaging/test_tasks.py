"""Background tasks end even when a cancellation is swallowed."""

from __future__ import annotations

import asyncio

from yaoki.tasks import end_tasks


async def test_a_task_that_swallows_the_first_cancellation_ends_all_the_same() -> None:
    swallowed = 0
    running = asyncio.Event()

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            running.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 2:
                    raise

    task = asyncio.create_task(stubborn())
    await running.wait()
    await asyncio.wait_for(end_tasks([task]), 5)
    assert task.cancelled()


async def test_what_a_task_raises_is_dropped() -> None:
    async def failing() -> None:
        raise ValueError

    task = asyncio.create_task(failing())
    await asyncio.wait([task])
    await end_tasks([task])

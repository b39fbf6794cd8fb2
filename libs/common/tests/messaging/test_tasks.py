"""Background tasks end even when a cancellation is swallowed."""

from __future__ import annotations

import asyncio

import pytest
from yaoki.tasks import EndingGroup, end_tasks
from yaoki.testing import patient


async def stubborn(running: asyncio.Event) -> None:
    """Goes on until it has been cancelled twice."""
    swallowed = 0
    while True:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed += 1
            if swallowed == 2:
                raise


async def test_a_task_that_swallows_the_first_cancellation_ends_all_the_same() -> None:
    running = asyncio.Event()
    task = asyncio.create_task(stubborn(running))
    await running.wait()
    await asyncio.wait_for(end_tasks([task]), patient(5))
    assert task.cancelled()


@pytest.mark.parametrize("nested", [False, True])
async def test_a_group_ends_though_one_of_it_swallows_the_first_cancellation(*, nested: bool) -> None:
    """When it is cancelled itself, however deep the task lies."""
    running = asyncio.Event()

    async def grouped() -> None:
        async with EndingGroup() as group:
            group.create_task(stubborn(running))

    async def whole() -> None:
        async with EndingGroup() as group:
            group.create_task(grouped() if nested else stubborn(running))

    task = asyncio.create_task(whole())
    await running.wait()
    task.cancel()
    await asyncio.wait([task], timeout=patient(5))
    assert task.cancelled()


async def test_a_group_ends_though_whoever_waits_for_it_has_swallowed_its_cancellation() -> None:
    """Cancelled once, on the way to the end of the group; its task would run for ever."""
    running = asyncio.Event()

    async def whole() -> None:
        async with EndingGroup() as group:
            forever = group.create_task(asyncio.Event().wait())
            try:
                running.set()
                await asyncio.wait([forever])
            except asyncio.CancelledError:
                pass  # as `asyncio.wait_for` does

    task = asyncio.create_task(whole())
    await running.wait()
    task.cancel()
    await asyncio.wait([task], timeout=patient(5))
    assert task.cancelled()


async def test_a_group_ends_with_what_failed_in_it_though_another_of_it_is_stubborn() -> None:
    running = asyncio.Event()

    async def failing() -> None:
        await running.wait()
        raise ValueError

    async def whole() -> None:
        async with asyncio.timeout(patient(5)), EndingGroup() as group:
            group.create_task(stubborn(running))
            group.create_task(failing())

    with pytest.raises(ExceptionGroup) as caught:
        await whole()
    assert caught.group_contains(ValueError)


async def test_what_a_task_raises_is_dropped() -> None:
    async def failing() -> None:
        raise ValueError

    task = asyncio.create_task(failing())
    await asyncio.wait([task])
    await end_tasks([task])

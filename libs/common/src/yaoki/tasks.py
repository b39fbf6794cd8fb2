"""Ending background tasks for certain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Iterable
    from contextvars import Context
    from types import TracebackType

T = TypeVar("T")

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


class EndingGroup(asyncio.TaskGroup):
    """A TaskGroup that ends for certain: whoever was cancelled and goes on is cancelled again, see `end_tasks`.

    So its tasks, and whoever waits for them at its end, have half a second for what they do when they are cancelled.
    """

    def __init__(self) -> None:
        super().__init__()
        self._living: set[asyncio.Task[Any]] = set()

    @override
    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """See `asyncio.TaskGroup.create_task`."""
        task = super().create_task(coro, name=name, context=context)
        self._living.add(task)
        task.add_done_callback(self._living.discard)
        return task

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        reminding = asyncio.ensure_future(self._remind(asyncio.current_task()))
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            reminding.cancel()

    async def _remind(self, waiting: asyncio.Task[Any] | None) -> None:
        while True:
            await asyncio.sleep(_AGAIN_S)
            for task in (*self._living, waiting):
                if task is not None and task.cancelling():
                    task.cancel()

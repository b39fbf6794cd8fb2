"""Runs the stages of one pipeline together: threads for codecs, tasks for I/O, one failure ends all."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from backup.pipeline.channel import Channel, ChannelAbortedError
from backup.together import together

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType
    from typing import Any, Self

T = TypeVar("T")


class Joint:
    """The threads and channels of one pipeline.

    They are its own: stages that wait for each other inside a shared pool would wait for ever once it is full.

    Args:
        name: Of the threads.
        threads: Most blocking calls at a time; at least one for each stage.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._channels: list[Channel] = []

    def channel(self, limit: int) -> Channel:
        """A channel that is aborted when the pipeline ends."""
        channel = Channel(limit)
        self._channels.append(channel)
        return channel

    async def blocking(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run `call` in a thread of this pipeline."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    async def together(self, *stages: Coroutine[Any, Any, Any]) -> None:
        """Run all stages to their end. The first failure aborts the channels, ends the others and is raised."""
        await together(*stages, on_failure=self.abort, consequence=ChannelAbortedError)

    def abort(self) -> None:
        """Fail whoever still reads or writes a channel."""
        for channel in self._channels:
            channel.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
        self._pool.shutdown(wait=False, cancel_futures=True)

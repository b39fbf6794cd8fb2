"""A continuous pull from one JetStream consumer.

nats-py's `fetch` spins at full speed when the consumer has been deleted, says nothing about it, and holds
messages that nobody has begun to handle. This feed asks for messages while it has room, is told by the server
what becomes of a request, notices silence by heartbeats, and knows every message that it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec
import nats.errors
import structlog

from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

_log = structlog.get_logger("yaoki.messaging")

_EXPIRES_S = 30.0
_HEARTBEAT_S = 5.0
_SILENCE_S = 2.5 * _HEARTBEAT_S
_TICK_S = 1.0
_NO_LIMIT = -1
_NANOSECONDS = 1_000_000_000


class PullFeed:
    """Delivers the messages of one durable consumer to a handler.

    Args:
        client: The connection.
        stream: Name of the stream.
        consumer: Durable name.
        handler: Settles the message itself and raises nothing.
        workers: Messages handled at the same time. One keeps the order of the stream.
        capacity: Messages held at most, begun or not. With `capacity == workers` no message waits here.
        ack_wait_s: Of the consumer; every message held is reported as in progress each third of it.

    Attributes:
        problem: Why no messages can arrive now; None when all is well.
    """

    def __init__(
        self,
        client: Client,
        stream: str,
        consumer: str,
        handler: Callable[[Msg], Awaitable[None]],
        *,
        workers: int,
        capacity: int,
        ack_wait_s: float,
    ) -> None:
        self._client = client
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._handler = handler
        self._workers = workers
        self._capacity = max(capacity, workers)
        self._progress_s = ack_wait_s / 3
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._queue: deque[Msg] = deque()
        self._ready = asyncio.Semaphore(0)
        self._held: dict[int, tuple[Msg, float]] = {}
        self._idle = asyncio.Event()
        self._requested = 0
        self._heard = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.problem: str | None = None

    async def start(self) -> None:
        """Begin to pull."""
        self._subscription = await self._client.subscribe(
            self._inbox, cb=self._receive, pending_msgs_limit=_NO_LIMIT, pending_bytes_limit=_NO_LIMIT
        )
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._work()) for _ in range(self._workers)]
        self._tasks.append(loop.create_task(self._watch_over()))
        await self._request()

    async def stop(self, within_s: float) -> None:
        """Take no more, give back what nobody has begun, wait for what runs; cancel it after `within_s`."""
        self._stopping = True
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._subscription.unsubscribe()
        while self._queue:
            message = self._queue.popleft()
            self._held.pop(id(message), None)
            with contextlib.suppress(nats.errors.Error):
                await message.nak()
        if self._held:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), within_s)
        await end_tasks(self._tasks)

    async def reconnected(self) -> None:
        """The server has forgotten our requests: ask again."""
        self._requested = 0
        await self._request()

    async def _receive(self, message: Msg) -> None:
        self._heard = time.monotonic()
        headers = message.headers
        if headers and "Status" in headers and not message.reply.startswith("$JS.ACK"):
            await self._on_status(headers["Status"], headers)
            return
        self.problem = None
        self._requested -= 1
        if self._stopping:
            await message.nak()
            return
        self._held[id(message)] = (message, self._heard)
        self._idle.clear()
        self._queue.append(message)
        self._ready.release()

    async def _on_status(self, status: str, headers: dict[str, str]) -> None:
        if status == "100":
            return
        description = headers.get("Description", "")
        if status == "503" or "deleted" in description.lower():
            self.problem = f"consumer does not answer ({status} {description}); has it been deleted?"
            self._requested = 0
            return  # `_watch_over` asks again, slowly
        # 408, 409: a request ended early or expired; what it did not deliver is free again.
        undelivered = int(headers.get("Nats-Pending-Messages", self._requested))
        self._requested = max(0, self._requested - undelivered)
        await self._request()

    async def _work(self) -> None:
        while True:
            await self._ready.acquire()
            if not self._queue:
                continue
            message = self._queue.popleft()
            try:
                await self._handler(message)
            except Exception:  # noqa: BLE001 - one message must not end the worker
                _log.exception("delivery failed outside of the handler")
            finally:
                self._held.pop(id(message), None)
                if not self._held:
                    self._idle.set()
            if self._requested + len(self._held) <= self._capacity // 2 or self._capacity == self._workers:
                await self._request()

    async def _request(self) -> None:
        room = self._capacity - len(self._held) - max(self._requested, 0)
        if room <= 0 or self._stopping:
            return
        request = {
            "batch": room,
            "expires": int(_EXPIRES_S * _NANOSECONDS),
            "idle_heartbeat": int(_HEARTBEAT_S * _NANOSECONDS),
        }
        self._requested = max(self._requested, 0) + room
        try:
            await self._client.publish(self._next, msgspec.json.encode(request), reply=self._inbox)
        except nats.errors.Error:
            self._requested = 0  # `_watch_over` or the reconnect asks again

    async def _watch_over(self) -> None:
        """Report what is held as in progress, and ask again after silence."""
        tick = min(_TICK_S, self._progress_s / 2)
        while True:
            await asyncio.sleep(tick)
            now = time.monotonic()
            with contextlib.suppress(nats.errors.Error):
                await self._report_progress(now)
            if self.problem is not None or now - self._heard > _SILENCE_S:
                self._requested = 0
            if not self._requested and self._client.is_connected:
                await self._request()

    async def _report_progress(self, now: float) -> None:
        for key, (message, reported) in list(self._held.items()):
            if now - reported >= self._progress_s and not message._ackd:  # noqa: SLF001 - nats-py has no reader
                self._held[key] = (message, now)
                await message.in_progress()

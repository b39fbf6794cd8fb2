"""Reading and watching a bucket through ephemeral consumers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import nats.errors
import structlog
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError

from yaoki.errors import ErrorCode, TransientError
from yaoki.messaging.ports import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from yaoki.messaging.connection import Connection

_log = structlog.get_logger("yaoki.messaging")

_HEARTBEAT_S = 1.0
_SILENCE_S = 3.5 * _HEARTBEAT_S
_PAUSE_S = 0.5
_INACTIVE_S = 30.0
_NO_LIMIT = -1


class _Lost(Exception):  # noqa: N818 - private control flow, not an error that anybody sees
    """The consumer is gone, silent or has skipped; read the bucket again."""


def _filter(bucket: str, prefix: str) -> str:
    """Whole tokens of the prefix narrow the consumer; the rest is compared here."""
    head, dot, _ = prefix.rpartition(".")
    return f"$KV.{bucket}.{head}{dot}>"


class _Reader:
    """One ephemeral consumer: the newest version of every key, then every change."""

    def __init__(self, connection: Connection, bucket: str, prefix: str, *, values: bool = True) -> None:
        self._client = connection.client
        self._bucket = bucket
        self._prefix = prefix
        self._values = values
        self._subscription: Subscription | None = None
        self._arrived: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._consumer = ""
        self._last = 0

    async def open(self) -> int:
        """Create the consumer; return how many versions are there to begin with."""
        inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe(
            inbox, cb=self._arrived.put, pending_msgs_limit=_NO_LIMIT, pending_bytes_limit=_NO_LIMIT
        )
        info = await self._client.jetstream().add_consumer(
            f"KV_{self._bucket}",
            ConsumerConfig(
                deliver_subject=inbox,
                deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
                ack_policy=AckPolicy.NONE,
                filter_subject=_filter(self._bucket, self._prefix),
                headers_only=None if self._values else True,
                idle_heartbeat=_HEARTBEAT_S,
                inactive_threshold=_INACTIVE_S,
                max_deliver=1,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        self._consumer = info.name
        return (info.num_pending or 0) + (info.delivered.consumer_seq if info.delivered else 0)

    async def next(self) -> tuple[Entry, int]:
        """The next version and how many are behind it; waits as long as heartbeats arrive.

        Raises:
            _Lost: No message and no heartbeat, or one was skipped.
        """
        while True:
            try:
                # Not wait_for: before Python 3.12 it drops a cancellation that comes together with a message.
                async with asyncio.timeout(_SILENCE_S):
                    message = await self._arrived.get()
            except TimeoutError as error:
                raise _Lost from error
            if message is None:
                raise _Lost
            if message.headers and "Status" in message.headers:
                if message.headers["Status"] != "100":
                    raise _Lost
                self._check_heartbeat(message)
                continue
            metadata = message.metadata
            if metadata.sequence.consumer != self._last + 1:
                raise _Lost
            self._last += 1
            entry = _entry(message, self._bucket)
            if entry.key.startswith(self._prefix):
                return entry, metadata.num_pending
            if not metadata.num_pending:
                return Entry(key="", value=None, revision=0), 0

    def abandon(self) -> None:
        """Have whoever waits in `next` begin again."""
        self._arrived.put_nowait(None)

    def _check_heartbeat(self, message: Msg) -> None:
        """A heartbeat names the last message sent: a skipped one shows here."""
        last = (message.headers or {}).get("Nats-Last-Consumer")
        if last is not None and int(last) > self._last:
            raise _Lost

    async def close(self) -> None:
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                await self._subscription.unsubscribe()
        if self._consumer and self._client.is_connected:
            with contextlib.suppress(nats.errors.Error, APIError, TimeoutError):
                await self._client.jetstream().delete_consumer(f"KV_{self._bucket}", self._consumer)


def _entry(message: Msg, bucket: str) -> Entry:
    headers = message.headers or {}
    gone = headers.get("KV-Operation") in {"DEL", "PURGE"} or "Nats-Marker-Reason" in headers
    return Entry(
        key=message.subject.removeprefix(f"$KV.{bucket}."),
        value=None if gone else message.data,
        revision=message.metadata.sequence.stream,
    )


async def read_keys(connection: Connection, bucket: str, prefix: str, *, timeout_s: float) -> list[str]:
    """All live keys that start with `prefix`, sorted.

    Raises:
        TransientError: NATS did not answer within `timeout_s`.
    """
    found = await _read_all(connection, bucket, prefix, timeout_s=timeout_s, values=False)
    return [entry.key for entry in found]


async def read_entries(connection: Connection, bucket: str, prefix: str, *, timeout_s: float) -> list[Entry]:
    """The newest version of every live key that starts with `prefix`, by key; errors as for `read_keys`."""
    return await _read_all(connection, bucket, prefix, timeout_s=timeout_s, values=True)


async def _read_all(connection: Connection, bucket: str, prefix: str, *, timeout_s: float, values: bool) -> list[Entry]:
    deadline = time.monotonic() + timeout_s
    while True:
        reader = _Reader(connection, bucket, prefix, values=values)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + timeout_s):
                return await _collect(reader)
        except (_Lost, nats.errors.Error, APIError, TimeoutError) as error:
            if time.monotonic() + _PAUSE_S >= deadline:
                raise TransientError(
                    f"bucket {bucket} could not be listed within {timeout_s} s", code=ErrorCode.TIMEOUT
                ) from error
        finally:
            await reader.close()
        await asyncio.sleep(_PAUSE_S)


async def _collect(reader: _Reader) -> list[Entry]:
    found: dict[str, Entry] = {}
    pending = await reader.open()
    while pending:
        entry, pending = await reader.next()
        found[entry.key] = entry
    return [found[key] for key in sorted(found) if key and found[key].value is not None]


class Watch:
    """The endless watch behind `NatsKeyValue.watch`."""

    def __init__(self, connection: Connection, bucket: str, prefix: str) -> None:
        self._connection = connection
        self._bucket = bucket
        self._prefix = prefix
        self._known: dict[str, int] = {}
        self._reader: _Reader | None = None

    async def entries(self) -> AsyncIterator[Entry]:
        """Read the bucket, follow it, and begin again whenever the consumer may have missed something."""
        self._connection.on_reconnect(self._begin_again)
        while True:
            try:
                async for entry in self._follow():
                    yield entry
            except (TimeoutError, _Lost, nats.errors.Error, APIError, OSError) as error:
                _log.info("kv watch begins again", bucket=self._bucket, cause=type(error).__name__)
            await self._release()
            await asyncio.sleep(_PAUSE_S)

    async def close(self) -> None:
        """Give the consumer back."""
        self._connection.remove_callback(self._begin_again)
        await self._release()

    async def _begin_again(self) -> None:
        # A server that came back has forgotten the consumer; waiting for its heartbeats would take seconds.
        if self._reader is not None:
            self._reader.abandon()

    async def _release(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            await reader.close()

    async def _follow(self) -> AsyncIterator[Entry]:
        self._reader = reader = _Reader(self._connection, self._bucket, self._prefix)
        pending = await reader.open()
        present: set[str] = set()
        while pending:
            entry, pending = await reader.next()
            if entry.value is not None:
                present.add(entry.key)
                if self._note(entry):
                    yield entry
        for key in sorted(set(self._known) - present):
            # Deleted or lapsed while nobody was looking.
            yield Entry(key=key, value=None, revision=self._known.pop(key))
        while True:
            entry, _ = await reader.next()
            if entry.key and self._note(entry):
                yield entry

    def _note(self, entry: Entry) -> bool:
        """Remember what has been shown; False for what is known already."""
        if self._known.get(entry.key, 0) >= entry.revision:
            return False
        if entry.value is None:
            self._known.pop(entry.key, None)
        else:
            self._known[entry.key] = entry.revision
        return True

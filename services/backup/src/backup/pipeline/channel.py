"""A bounded queue of bytes between two threads: the only place where data of a backup waits."""

from __future__ import annotations

import threading
from collections import deque


class ChannelAbortedError(Exception):
    """The other side gave up; its own error says why."""


class Channel:
    """Chunks in order from one writer to one reader; blocks the writer while `limit` bytes wait.

    A chunk that alone is larger than the limit passes when nothing else waits.

    Args:
        limit: Most bytes that wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: deque[bytes | bytearray] = deque()
        self._waiting = 0
        self._closed = False
        self._aborted = False
        self._changed = threading.Condition()

    def put(self, chunk: bytes | bytearray) -> None:
        """Append a chunk; an empty one is dropped.

        Raises:
            ChannelAbortedError: `abort` was called.
        """
        if not chunk:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._aborted or self._waiting == 0 or self._fits(chunk))
            if self._aborted:
                raise ChannelAbortedError
            self._chunks.append(chunk)
            self._waiting += len(chunk)
            self._changed.notify_all()

    def get(self) -> bytes | bytearray:
        """The next chunk; empty at the end.

        Raises:
            ChannelAbortedError: `abort` was called; what still waits is gone.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._aborted or self._closed or bool(self._chunks))
            if self._aborted:
                raise ChannelAbortedError
            if not self._chunks:
                return b""
            chunk = self._chunks.popleft()
            self._waiting -= len(chunk)
            self._changed.notify_all()
            return chunk

    def close(self) -> None:
        """No more chunks will come; those that wait are still read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Fail both sides, now and from now on."""
        with self._changed:
            self._aborted = True
            self._chunks.clear()
            self._changed.notify_all()

    def _fits(self, chunk: bytes | bytearray) -> bool:
        return self._waiting + len(chunk) <= self._limit


class ChannelReader:
    """A channel as the readable file that codecs expect; short reads happen only at the end."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, all of one chunk; empty at the end."""
        if not self._rest:
            self._rest = memoryview(self._channel.get())
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return bytes(taken)


class ChannelWriter:
    """A channel as the writable file that codecs expect; collects small writes into chunks of `chunk` bytes."""

    def __init__(self, channel: Channel, chunk: int) -> None:
        self._channel = channel
        self._chunk = chunk
        self._collected = bytearray()

    def write(self, data: bytes) -> int:
        """Take all of `data`."""
        self._collected += data
        if len(self._collected) >= self._chunk:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Pass on what is collected."""
        self._channel.put(bytes(self._collected))
        self._collected.clear()

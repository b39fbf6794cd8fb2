"""The message system's ports, kept in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from yaoki.clock import Clock, SystemClock, Uuid7Source
from yaoki.errors import ConflictError
from yaoki.events.base import Event  # noqa: TC001 - msgspec reads the annotation at run time
from yaoki.messaging.keys import check_key
from yaoki.messaging.ports import Entry, Published
from yaoki.subjects import Subjects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class PublishedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What was given to `InMemoryPublisher.publish`."""

    event: Event
    id: str
    sequence: int
    correlation: str | None = None
    causation: str | None = None


class InMemoryPublisher:
    """An `EventPublisher` that remembers; `events` holds the facts in order, each id once.

    Attributes:
        published: With identity and correlation.
    """

    def __init__(self, subjects: Subjects | None = None) -> None:
        self.published: list[PublishedEvent] = []
        self._subjects = subjects or Subjects()
        self._ids = Uuid7Source()

    @property
    def events(self) -> list[Event]:
        """The facts in order."""
        return [published.event for published in self.published]

    async def publish(
        self,
        event: Event,
        *,
        event_id: str | None = None,
        correlation: str | None = None,
        causation: str | None = None,
    ) -> Published:
        """See `EventPublisher.publish`."""
        event.subject(self._subjects)  # a name that cannot be published is refused here as well
        identity = event_id or self._ids.new()
        for known in self.published:
            if known.id == identity:
                return Published(id=identity, sequence=known.sequence, duplicate=True)
        sequence = len(self.published) + 1
        self.published.append(
            PublishedEvent(event=event, id=identity, sequence=sequence, correlation=correlation, causation=causation)
        )
        return Published(id=identity, sequence=sequence)


class _Version(msgspec.Struct, frozen=True):
    value: bytes | None
    revision: int
    lapses_at: float | None = None


class InMemoryKeyValue:
    """A `KeyValue` bucket in memory. TTLs lapse by `clock`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._versions: dict[str, _Version] = {}
        self._revision = 0
        self._watchers: set[asyncio.Queue[Entry]] = set()

    async def get(self, key: str) -> Entry | None:
        """See `KeyValue.get`."""
        version = self._live(check_key(key))
        return None if version is None else Entry(key=key, value=version.value, revision=version.revision)

    async def create(self, key: str, value: bytes, *, ttl_s: float | None = None) -> int:
        """See `KeyValue.create`."""
        if self._live(check_key(key)) is not None:
            raise ConflictError(f"key {key!r} exists already; read it and decide again")
        return self._write(key, value, ttl_s)

    async def update(self, key: str, value: bytes, *, revision: int, ttl_s: float | None = None) -> int:
        """See `KeyValue.update`."""
        self._expect(check_key(key), revision)
        return self._write(key, value, ttl_s)

    async def put(self, key: str, value: bytes) -> int:
        """See `KeyValue.put`."""
        return self._write(check_key(key), value, None)

    async def delete(self, key: str, *, revision: int | None = None) -> None:
        """See `KeyValue.delete`."""
        live = self._live(check_key(key))
        if revision is not None:
            self._expect(key, revision)
        if live is not None:
            self._write(key, None, None)

    async def keys(self, prefix: str = "") -> list[str]:
        """See `KeyValue.keys`."""
        return sorted(key for key in self._versions if key.startswith(prefix) and self._live(key) is not None)

    async def entries(self, prefix: str = "") -> list[Entry]:
        """See `KeyValue.entries`."""
        found = [await self.get(key) for key in await self.keys(prefix)]
        return [entry for entry in found if entry is not None]

    async def watch(self, prefix: str = "") -> AsyncIterator[Entry]:
        """See `KeyValue.watch`."""
        queue: asyncio.Queue[Entry] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            for key in await self.keys(prefix):
                queue.put_nowait(Entry(key=key, value=self._versions[key].value, revision=self._versions[key].revision))
            while True:
                entry = await queue.get()
                if entry.key.startswith(prefix):
                    yield entry
        finally:
            self._watchers.discard(queue)

    def _live(self, key: str) -> _Version | None:
        version = self._versions.get(key)
        if version is None or version.value is None:
            return None
        if version.lapses_at is not None and self._clock.monotonic() >= version.lapses_at:
            return None
        return version

    def _expect(self, key: str, revision: int) -> None:
        live = self._live(key)
        found = 0 if live is None else live.revision
        if found != revision:
            raise ConflictError(f"key {key!r} is at revision {found}, not {revision}; read it and decide again")

    def _write(self, key: str, value: bytes | None, ttl_s: float | None) -> int:
        self._revision += 1
        lapses_at = None if ttl_s is None else self._clock.monotonic() + ttl_s
        self._versions[key] = _Version(value, self._revision, lapses_at)
        for queue in self._watchers:
            queue.put_nowait(Entry(key=key, value=value, revision=self._revision))
        return self._revision

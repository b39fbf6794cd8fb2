"""What services need of the message system, as contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from yaoki.events.base import Event


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a message beside its body (CloudEvents 1.0 attributes and Yaoki's own).

    A message without headers (plain `nats pub`) gets its identity and time from the stream.

    Attributes:
        id: `ce-id`, also `Nats-Msg-Id`.
        source: `ce-source`: who published it, e.g. `/recovery/host-1`.
        time: `ce-time`, UTC.
        correlation: The incident or run that it belongs to.
        causation: Id of the message that caused it.
        sequence: Position in its stream; 0 when not stored.
        deliveries: How often it has been delivered to this consumer, 1 for the first.
    """

    id: str
    source: str
    time: datetime
    correlation: str | None = None
    causation: str | None = None
    sequence: int = 0
    deliveries: int = 1


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """Proof that an event is stored.

    Attributes:
        id: Identity of the message.
        sequence: Position in the stream.
        duplicate: The stream had it already (same id within the duplicate window).
    """

    id: str
    sequence: int
    duplicate: bool = False


class EventPublisher(Protocol):
    """Publishes facts."""

    async def publish(
        self,
        event: Event,
        *,
        event_id: str | None = None,
        correlation: str | None = None,
        causation: str | None = None,
    ) -> Published:
        """Return when the event is stored. Retries with the same id for at least 15 s.

        Args:
            event: The fact.
            event_id: Give one derived from the cause, so that a repeat of the handler publishes it once.
            correlation: Incident or run.
            causation: Id of the causing message.

        Raises:
            TransientError: Not acknowledged in time; it may still be stored later.
            RejectedError: The event cannot be published (bad name, too large).
        """
        ...


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a key. `value` is None in a watch when the key was deleted."""

    key: str
    value: bytes | None
    revision: int


class KeyValue(Protocol):
    """One bucket. Keys are `.`-separated tokens.

    Every method raises TransientError when NATS does not answer.
    """

    async def get(self, key: str) -> Entry | None:
        """The newest version; None when there is none, or it was deleted or has lapsed."""
        ...

    async def create(self, key: str, value: bytes, *, ttl_s: float | None = None) -> int:
        """Write a key that does not exist; return its revision. Raises ConflictError when it exists."""
        ...

    async def update(self, key: str, value: bytes, *, revision: int, ttl_s: float | None = None) -> int:
        """Write over exactly `revision`; return the new one. Raises ConflictError otherwise.

        A lost acknowledgement is settled inside by reading back; an unsettled one is a TransientError.
        """
        ...

    async def put(self, key: str, value: bytes) -> int:
        """Write whatever is there; return the revision."""
        ...

    async def delete(self, key: str, *, revision: int | None = None) -> None:
        """Delete; with `revision` only that version (else ConflictError). Deleting nothing is no error."""
        ...

    async def keys(self, prefix: str = "") -> list[str]:
        """All live keys that start with `prefix`, sorted."""
        ...

    async def entries(self, prefix: str = "") -> list[Entry]:
        """The newest version of all live keys that start with `prefix`, by key: one question for many values."""
        ...

    def watch(self, prefix: str = "") -> AsyncIterator[Entry]:
        """The present value of every key that starts with `prefix`, then every change, for ever.

        Survives reconnects: after one the bucket is read again, so that the newest value is always seen;
        intermediate values may be missed, and a value may be repeated.
        """
        ...

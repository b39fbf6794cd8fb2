"""Messages that could not be handled, kept whole in the stream DLQ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from yaoki.errors import TransientError
from yaoki.events.delivery import MessageDeadLettered, Severity
from yaoki.messaging import metrics
from yaoki.messaging.envelope import MESSAGE_ID, escape, escape_sentence
from yaoki.messaging.store import EXPECTED_STREAM, store, wire_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from yaoki.messaging.publisher import JetStreamPublisher
    from yaoki.subjects import Subjects

DLQ_STREAM = "DLQ"
TERM_REASON = "dead-lettered"
"""Begins the reason of a TERM that follows a stored letter; the advisory shows it."""

_log = structlog.get_logger("yaoki.messaging")
_TIMEOUT_S = 5.0
_MAX_ERROR = 500
_RESERVED_BYTES = 1024
_MAX_HEADERS = 65_536
_REFUSALS = frozenset({"invalid", "rejected"})


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a dead letter came from."""

    subject: str
    stream: str
    consumer: str
    sequence: int
    deliveries: int


class DeadLetters:
    """Stores dead letters of one service and says so by an event.

    Args:
        client: The connection.
        subjects: Where they go.
        service: Whose they are.
        publisher: For `MessageDeadLettered`.
    """

    def __init__(self, client: Client, subjects: Subjects, service: str, publisher: JetStreamPublisher) -> None:
        self._client = client
        self._subject = subjects.dead_letter(service)
        self._service = service
        self._publisher = publisher

    async def put(self, message: Msg, reason: str, error: str) -> None:
        """Store a delivered message.

        Raises:
            TransientError: DLQ did not take it; the message must stay in its consumer.
        """
        metadata = message.metadata
        origin = Origin(
            subject=message.subject,
            stream=metadata.stream,
            consumer=metadata.consumer,
            sequence=metadata.sequence.stream,
            deliveries=metadata.num_delivered,
        )
        await self.put_raw(message.data, message.headers or {}, origin, reason, error)

    async def put_raw(self, body: bytes, headers: Mapping[str, str], origin: Origin, reason: str, error: str) -> None:
        """As `put`, for a message read from its stream. Repeats are stored once."""
        identity = f"dlq.{origin.stream}.{origin.consumer}.{origin.sequence}"
        sequence = await self._store(body, _letter_headers(headers, origin, reason, error), identity)
        metrics.DEAD_LETTERS.labels(self._service, reason).inc()
        _log.error(
            "message dead-lettered",
            subject=origin.subject,
            consumer=origin.consumer,
            reason=reason,
            error=error,
            dlq_sequence=sequence,
        )
        if origin.subject.endswith(f".{MessageDeadLettered.event_name()}"):
            return  # a subscriber that fails on dead letters must not produce them for ever
        event = MessageDeadLettered(
            service=self._service,
            original_subject=origin.subject,
            reason=reason,
            error=error[:_MAX_ERROR],
            dlq_sequence=sequence,
            severity=Severity.WARNING if reason in _REFUSALS else Severity.CRITICAL,
        )
        try:
            await self._publisher.publish(event, event_id=identity)
        except TransientError as failure:
            # The letter itself is safe; without its event it is found in the stream only.
            _log.warning("dead letter stored without its event", error=failure.message)

    async def _store(self, body: bytes, headers: dict[str, str], identity: str) -> int:
        """Return the sequence of the (first part of the) letter.

        The letter's headers make a message that was just small enough too large: it is stored in parts,
        `yaoki-dlq-part: 1/2`, to be put together in order.
        """
        first = 0
        parts = _split(body, self._client.max_payload - wire_size(b"", headers) - _RESERVED_BYTES)
        for number, part in enumerate(parts, start=1):
            own = {MESSAGE_ID: identity, EXPECTED_STREAM: DLQ_STREAM}
            if len(parts) > 1:
                own = own | {MESSAGE_ID: f"{identity}.{number}", "yaoki-dlq-part": f"{number}/{len(parts)}"}
            ack = await store(self._client, self._subject, part, headers | own, timeout_s=_TIMEOUT_S)
            first = first or ack.seq
        return first


def _split(body: bytes, size: int) -> list[bytes]:
    size = max(size, 1)
    return [body[start : start + size] for start in range(0, len(body), size)] or [b""]


def _letter_headers(headers: Mapping[str, str], origin: Origin, reason: str, error: str) -> dict[str, str]:
    """The original headers, but for those that would instruct the server again, and what happened."""
    kept = {key: str(value) for key, value in headers.items() if not key.lower().startswith("nats-")}
    if wire_size(b"", kept) > _MAX_HEADERS:
        kept = {"yaoki-dlq-headers": f"dropped: {wire_size(b'', kept)} bytes"}
    return kept | {
        "yaoki-dlq-reason": reason,
        "yaoki-dlq-error": escape_sentence(error[:_MAX_ERROR]),
        "yaoki-dlq-subject": escape(origin.subject),
        "yaoki-dlq-stream": origin.stream,
        "yaoki-dlq-consumer": origin.consumer,
        "yaoki-dlq-sequence": str(origin.sequence),
        "yaoki-dlq-deliveries": str(origin.deliveries),
    }

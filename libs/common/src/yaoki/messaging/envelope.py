"""Headers: CloudEvents 1.0 in binary mode, Yaoki's correlation, deduplication and trace context."""

from __future__ import annotations

import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from yaoki.messaging.ports import Envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.msg import Msg

MESSAGE_ID = "Nats-Msg-Id"
CORRELATION = "yaoki-correlation"
CAUSATION = "yaoki-causation"
TRACEPARENT = "traceparent"

# CloudEvents' HTTP and NATS bindings escape space, double quote, percent and everything outside of
# printable ASCII; the rest stays readable in `nats sub`.
_READABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_PLAIN = re.compile(r"[\x21\x23\x24\x26-\x7e]*")

current: ContextVar[Envelope | None] = ContextVar("yaoki_envelope", default=None)
"""The message that this task is handling; what it publishes inherits correlation and causation."""


def escape(value: str) -> str:
    """Percent-encode a header value as CloudEvents demands; CR and LF would become spaces otherwise."""
    return value if _PLAIN.fullmatch(value) else quote(value, safe=_READABLE)


def escape_sentence(sentence: str) -> str:
    """A sentence for a header of our own: printable ASCII with spaces, so that the `nats` command shows it as it is."""
    return " ".join(escape(word) for word in sentence.replace('"', "'").split())


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC, microseconds, with `Z`."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def event_headers(
    *,
    event_id: str,
    source: str,
    event_type: str,
    subject: str,
    at: datetime,
    correlation: str | None = None,
    causation: str | None = None,
    traceparent: str | None = None,
) -> dict[str, str]:
    """Headers of one message; `Nats-Msg-Id` equals `ce-id`.

    Args:
        event_id: Identity, the same in every repeat.
        source: Who publishes, e.g. `/recovery/recovery-1`.
        event_type: `ce-type`, e.g. `yaoki.probe.failure-detected`.
        subject: `ce-subject`: the entity that the message is about.
        at: `ce-time`.
        correlation: Incident or run; taken from the message being handled when left out.
        causation: Causing message; as above.
        traceparent: W3C trace context.
    """
    handling = current.get()
    if handling is not None:
        correlation = correlation or handling.correlation
        causation = causation or handling.id
    headers = {
        "ce-specversion": "1.0",
        "ce-id": escape(event_id),
        "ce-source": escape(source),
        "ce-type": event_type,
        "ce-time": timestamp(at),
        "ce-subject": escape(subject),
        "ce-datacontenttype": "application/json",
        MESSAGE_ID: escape(event_id),
    }
    if correlation:
        headers[CORRELATION] = escape(correlation)
    if causation:
        headers[CAUSATION] = escape(causation)
    if traceparent:
        headers[TRACEPARENT] = traceparent
    return headers


def envelope_of(message: Msg) -> Envelope:
    """What the headers and the stream say of a delivered message.

    A message without headers (plain `nats pub`) is identified by its place in the stream.
    """
    metadata = message.metadata
    headers: Mapping[str, str] = message.headers or {}
    identity = headers.get("ce-id") or headers.get(MESSAGE_ID)
    correlation = headers.get(CORRELATION)
    causation = headers.get(CAUSATION)
    return Envelope(
        id=unquote(identity) if identity else f"{metadata.stream}-{metadata.sequence.stream}",
        source=unquote(headers.get("ce-source", "")),
        time=_time(headers.get("ce-time")) or metadata.timestamp,
        correlation=unquote(correlation) if correlation else None,
        causation=unquote(causation) if causation else None,
        sequence=metadata.sequence.stream,
        deliveries=metadata.num_delivered,
    )


def _time(value: str | None) -> datetime | None:
    """None when absent or not RFC 3339 with a zone: the stream's own time is used then."""
    if not value:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo else None

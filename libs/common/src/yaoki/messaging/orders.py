"""Durable orders: stored in COMMANDS until their service has carried them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from yaoki.clock import SystemClock
from yaoki.errors import RejectedError
from yaoki.messaging import tracing
from yaoki.messaging.envelope import event_headers
from yaoki.messaging.ports import Published
from yaoki.messaging.publisher import store_patiently
from yaoki.messaging.store import EXPECTED_STREAM

if TYPE_CHECKING:
    from nats.aio.client import Client

    from yaoki.commands.base import Request
    from yaoki.subjects import Subjects

COMMANDS_STREAM = "COMMANDS"


async def store_order(
    client: Client,
    subjects: Subjects,
    request: Request,
    *,
    message_id: str,
    service: str,
    source: str,
    correlation: str | None,
    patience_s: float,
) -> Published:
    """Store an order once for each `message_id`; see `Messaging.order`."""
    kind = type(request)
    if not kind.durable:
        raise RejectedError(f"{kind.__name__} is not durable; ask it by `request`")
    headers = event_headers(
        event_id=message_id,
        source=source,
        event_type=f"{subjects.prefix}.{service}.{kind.verb}",
        subject=service,
        at=SystemClock().now(),
        correlation=correlation,
        traceparent=tracing.traceparent(),
    )
    headers[EXPECTED_STREAM] = COMMANDS_STREAM
    ack = await store_patiently(
        client, subjects.command(service, kind.verb), msgspec.json.encode(request), headers, patience_s=patience_s
    )
    return Published(id=message_id, sequence=ack.seq, duplicate=ack.duplicate)

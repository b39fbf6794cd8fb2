"""The one way in which events are published."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec

from yaoki.clock import Clock, IdSource, SystemClock, Uuid7Source
from yaoki.errors import TransientError
from yaoki.faults import point
from yaoki.messaging import metrics, tracing
from yaoki.messaging.envelope import event_headers
from yaoki.messaging.ports import Published
from yaoki.messaging.store import EXPECTED_STREAM, Ack, store

if TYPE_CHECKING:
    from nats.aio.client import Client

    from yaoki.events.base import Event
    from yaoki.subjects import Subjects

EVENTS_STREAM = "EVENTS"

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class Outgoing(msgspec.Struct, frozen=True):
    """An event as it goes on the wire; a repeat sends exactly this again."""

    subject: str
    body: bytes
    headers: dict[str, str]
    id: str


class JetStreamPublisher:
    """`EventPublisher` over JetStream.

    Args:
        client: The connection.
        subjects: Where events go.
        source: `ce-source`, e.g. `/recovery/recovery-1`.
        patience_s: How long a publish is repeated.
        timeout_s: For one attempt.
    """

    def __init__(
        self,
        client: Client,
        subjects: Subjects,
        *,
        source: str,
        patience_s: float = 20.0,
        timeout_s: float = 5.0,
        clock: Clock | None = None,
        ids: IdSource | None = None,
    ) -> None:
        self._client = client
        self._subjects = subjects
        self._source = source
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._ids = ids or Uuid7Source()
        self._encoder = msgspec.json.Encoder()

    def prepare(
        self,
        event: Event,
        *,
        event_id: str | None = None,
        correlation: str | None = None,
        causation: str | None = None,
    ) -> Outgoing:
        """Subject, body and headers of an event, without sending it.

        Raises:
            RejectedError: The entity cannot stand in a subject.
        """
        subject = event.subject(self._subjects)
        _, _, context, entity, name = subject[len(self._subjects.prefix) :].split(".")[-5:]
        identity = event_id or self._ids.new()
        headers = event_headers(
            event_id=identity,
            source=self._source,
            event_type=f"{self._subjects.prefix}.{context}.{name}",
            subject=entity,
            at=self._clock.now(),
            correlation=correlation,
            causation=causation,
            traceparent=tracing.traceparent(),
        )
        headers[EXPECTED_STREAM] = EVENTS_STREAM
        return Outgoing(subject, self._encoder.encode(event), headers, identity)

    async def publish(
        self,
        event: Event,
        *,
        event_id: str | None = None,
        correlation: str | None = None,
        causation: str | None = None,
    ) -> Published:
        """See `EventPublisher.publish`. Correlation and causation default to the message being handled."""
        with tracing.producing(event.event_name()):
            outgoing = self.prepare(event, event_id=event_id, correlation=correlation, causation=causation)
            return await self.send(outgoing, event.event_name())

    async def send(self, outgoing: Outgoing, name: str) -> Published:
        """Store a prepared event; `name` labels the metrics."""
        started = time.perf_counter()
        try:
            ack = await store_patiently(
                self._client,
                outgoing.subject,
                outgoing.body,
                outgoing.headers,
                patience_s=self._patience_s,
                timeout_s=self._timeout_s,
            )
        except BaseException:
            metrics.PUBLISHED.labels(name, "failed").inc()
            raise
        metrics.PUBLISHED.labels(name, "duplicate" if ack.duplicate else "stored").inc()
        metrics.PUBLISH_SECONDS.labels(name).observe(time.perf_counter() - started)
        return Published(id=outgoing.id, sequence=ack.seq, duplicate=ack.duplicate)


async def store_patiently(
    client: Client,
    subject: str,
    body: bytes,
    headers: dict[str, str],
    *,
    patience_s: float = 20.0,
    timeout_s: float = 5.0,
) -> Ack:
    """Write until it is acknowledged, with the same `Nats-Msg-Id`, so that one copy is stored.

    A leader election takes 4 to 7 s, in which writes are refused or not answered; the duplicate window of
    the streams (120 s) is longer than any patience here.

    Raises:
        TransientError: `patience_s` is over; it may still be stored later.
        RejectedError: Refused for good.
    """
    deadline = time.monotonic() + patience_s
    pause = _FIRST_PAUSE_S
    while True:
        try:
            ack = await store(client, subject, body, headers, timeout_s=timeout_s)
        except TransientError:
            if time.monotonic() + pause >= deadline:
                raise
        else:
            point("messaging.stored")
            return ack
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)

"""The event stream as an application reads it: typed, in order, without a consumer that somebody has to create."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import nats.errors
import nats.js.errors
import structlog
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from yaoki.errors import RejectedError
from yaoki.events import EVENT_TYPES
from yaoki.messaging.decoding import StrictDecoder
from yaoki.messaging.envelope import envelope_of
from yaoki.messaging.publisher import EVENTS_STREAM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js.client import JetStreamContext

    from yaoki.events import Event
    from yaoki.messaging.ports import Envelope
    from yaoki.subjects import Subjects

_log = structlog.get_logger(__name__)
_BATCH = 100
_WAIT_S = 2.0
_PAUSE_S = 0.5
# A reader that is away for longer begins a new consumer where it stopped; nothing is lost either way.
_INACTIVE_S = 60.0
_AWAY = (nats.errors.Error, nats.js.errors.Error, OSError)


async def read_events(
    client: Client, subjects: Subjects, types: Sequence[type[Event]] = (), *, after: int | None = None
) -> AsyncIterator[tuple[Event, Envelope]]:
    """Events in the order of the stream, for ever, through every loss of connection.

    Args:
        client: The connection.
        subjects: For the filters.
        types: Which events; all when left out.
        after: Continue behind this stream sequence (`Envelope.sequence`); from now on when left out, and from the
            oldest when 0.

    Yields:
        Each event with its envelope. A body that is not an event is logged and passed over.
    """
    wanted = tuple(types) or EVENT_TYPES
    decoder = StrictDecoder(wanted)
    filters = [subjects.events(event=kind.event_name()) for kind in types] or [subjects.all_events()]
    position = after
    while True:
        try:
            if position is None:
                position = (await client.jetstream().stream_info(EVENTS_STREAM)).state.last_seq
            consumer = await _consumer(client.jetstream(), filters, position)
            async for message in _messages(consumer):
                position = message.metadata.sequence.stream
                decoded = _decode(decoder, message)
                if decoded is not None:
                    yield decoded, envelope_of(message)
        except _AWAY as error:
            _log.debug("event stream interrupted", error=type(error).__name__, after=position)
            await asyncio.sleep(_PAUSE_S)


async def _consumer(jetstream: JetStreamContext, filters: list[str], after: int) -> JetStreamContext.PullSubscription:
    info = await jetstream.add_consumer(
        EVENTS_STREAM,
        ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            filter_subjects=filters,
            inactive_threshold=_INACTIVE_S,
            mem_storage=True,
            num_replicas=1,
        ),
    )
    return await jetstream.pull_subscribe_bind(consumer=info.name, stream=EVENTS_STREAM)


async def _messages(consumer: JetStreamContext.PullSubscription) -> AsyncIterator[Msg]:
    """Whatever comes; ends by raising when the consumer or the connection is gone."""
    try:
        while True:
            try:
                batch = await consumer.fetch(_BATCH, timeout=_WAIT_S)
            except nats.errors.TimeoutError:
                await consumer.consumer_info()  # an empty stream and a lost consumer look alike from here
                continue
            for message in batch:
                yield message
    finally:
        await consumer.unsubscribe()


def _decode(decoder: StrictDecoder[Event], message: Msg) -> Event | None:
    try:
        return decoder.decode(message.data)
    except RejectedError as error:
        _log.warning("event passed over", subject=message.subject, error=error.message)
        return None

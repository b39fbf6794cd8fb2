"""Beginnings of runs, read out of the event stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from yaoki.errors import RejectedError, TransientError
from yaoki.events.runs import RunStarted
from yaoki.messaging.decoding import StrictDecoder
from yaoki.messaging.publisher import EVENTS_STREAM
from yaoki.telemetry import get_logger

from recovery.ports import Beginning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js.client import JetStreamContext
    from yaoki.subjects import Subjects

_BATCH: Final = 200
_WAIT_S: Final = 5.0
_INACTIVE_S: Final = 30.0
_log = get_logger(__name__)


class NatsRunStarts:
    """See `recovery.ports.RunStarts`."""

    def __init__(self, client: Client, subjects: Subjects, run_kind: str) -> None:
        self._client = client
        self._filter = subjects.events(context=run_kind, event=RunStarted.event_name())
        self._decoder = StrictDecoder([RunStarted])

    async def read(self, *, after: int, since: datetime | None) -> AsyncIterator[Beginning]:
        """See `RunStarts.read`."""
        try:
            async for message in self._messages(after, since):
                started = self._decoded(message)
                at, sequence = message.metadata.timestamp, message.metadata.sequence.stream
                if started is not None:
                    yield Beginning(
                        run_id=started.run_id,
                        target=str(started.facts.get("target", "")),
                        at=at,
                        sequence=sequence,
                    )
        except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
            raise TransientError(f"the event stream cannot be read: {type(error).__name__}") from error

    async def _messages(self, after: int, since: datetime | None) -> AsyncIterator[Msg]:
        consumer = await self._consumer(after, since)
        try:
            left = (await consumer.consumer_info()).num_pending or 0
            while left > 0:
                for message in await consumer.fetch(min(_BATCH, left), timeout=_WAIT_S):
                    left -= 1
                    yield message
        finally:
            await consumer.unsubscribe()

    async def _consumer(self, after: int, since: datetime | None) -> JetStreamContext.PullSubscription:
        jetstream = self._client.jetstream()
        by_time = since is not None and after == 0
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.BY_START_TIME if by_time else DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=None if by_time else after + 1,
            opt_start_time=since if by_time else None,
            filter_subject=self._filter,
            inactive_threshold=_INACTIVE_S,
            mem_storage=True,
            num_replicas=1,
        )
        info = await jetstream.add_consumer(EVENTS_STREAM, config)
        return await jetstream.pull_subscribe_bind(consumer=info.name, stream=EVENTS_STREAM)

    def _decoded(self, message: Msg) -> RunStarted | None:
        try:
            return self._decoder.decode(message.data)
        except RejectedError as error:
            _log.warning("beginning of a run passed over", subject=message.subject, error=error.message)
            return None

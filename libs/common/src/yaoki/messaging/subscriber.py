"""A FastStream subscriber that is fed by `PullFeed` and bound to a provisioned consumer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import nats.errors
import structlog
from faststream.middlewares import AckPolicy
from faststream.nats import JStream, PullSub
from nats.js.api import ConsumerConfig
from nats.js.errors import APIError, NotFoundError

from yaoki.errors import FatalError, RejectedError
from yaoki.messaging.delivery import InvalidBodyError
from yaoki.messaging.envelope import current
from yaoki.messaging.pull import PullFeed
from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from faststream.message import StreamMessage
    from nats.aio.msg import Msg
    from nats.js.api import ConsumerInfo

    from yaoki.messaging.connection import Connection
    from yaoki.messaging.decoding import StrictDecoder
    from yaoki.messaging.ports import Envelope

_log = structlog.get_logger("yaoki.messaging")

_FAST_CAPACITY = 256
_SLOW_WORKERS = 8
_RETRY_S = 1.0
_PROBE_S = 5.0
_STOP_S = 15.0
_ACK_WAIT_S = 30.0


class BoundConsumer:
    """One durable consumer with its handler.

    Fast handlers run one at a time in the order of the stream, with many messages fetched ahead; slow ones
    run side by side, and no message is fetched before a worker is free for it.

    Args:
        connection: To NATS; its broker gets the subscriber.
        stream: Name of the stream.
        durable: Name of the consumer, provisioned.
        decoder: For the bodies.
        handler: Called with the message and its envelope; idempotent, since delivery is at least once.
        slow: Whether the handler may take longer than a few milliseconds.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        stream: str,
        durable: str,
        decoder: StrictDecoder[Any],
        handler: Callable[[Any, Envelope], Awaitable[None]],
        slow: bool,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._durable = durable
        self._decoder = decoder
        self._user_handler = handler
        self._slow = slow
        self._feed: PullFeed | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._missing: str | None = "not bound to its consumer yet"
        self._subscriber = connection.broker.subscriber(
            stream=JStream(stream, declare=False),
            config=ConsumerConfig(durable_name=durable),
            pull_sub=PullSub(),
            no_reply=True,
            ack_policy=AckPolicy.MANUAL,
            decoder=self._decode,
        )
        self._subscriber(self._handle)
        # The one seam: FastStream would create a missing consumer here and start its own loop.
        self._subscriber._create_subscription = self._nothing  # type: ignore[method-assign]  # noqa: SLF001 - as above

    @property
    def problem(self) -> str | None:
        """Why it gets no messages now; None when all is well."""
        found = self._missing or (None if self._feed is None else self._feed.problem)
        return None if found is None else f"consumer {self._durable} of {self._stream}: {found}"

    @property
    def durable(self) -> str:
        """Name of the consumer."""
        return self._durable

    async def start(self) -> None:
        """Begin; a consumer that does not exist yet is waited for, and readiness says so."""
        if self._keeper is not None:
            return
        await self._subscriber.start()
        bound = asyncio.Event()
        self._keeper = asyncio.get_running_loop().create_task(self._keep(bound), name=f"keep-{self._durable}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(bound.wait(), _RETRY_S)

    async def stop(self, within_s: float = _STOP_S) -> None:
        """Finish what runs, give the rest back."""
        if self._keeper is not None:
            await end_tasks([self._keeper])
        if self._feed is not None:
            await self._feed.stop(within_s)

    async def _keep(self, bound: asyncio.Event) -> None:
        """Bind, then look again and again whether the consumer still exists: its loss is silent."""
        while True:
            try:
                info = await self._connection.client.jetstream().consumer_info(self._stream, self._durable)
                self._found()
                if self._feed is None:
                    await self._bind(info)
                bound.set()
            except NotFoundError:
                self._lost("does not exist; run `yaoki provision`")
            except (TimeoutError, nats.errors.Error, APIError) as error:
                # Without an answer nobody knows; the connection's own state says what is wrong.
                if self._feed is None:
                    self._lost(f"NATS does not answer ({type(error).__name__})")
            await asyncio.sleep(_PROBE_S if self._missing is None else _RETRY_S)

    def _lost(self, reason: str) -> None:
        if self._missing != reason:
            _log.error("consumer lost", consumer=self._durable, stream=self._stream, reason=reason)
        self._missing = reason

    def _found(self) -> None:
        if self._missing is not None and self._feed is not None:
            _log.info("consumer is back", consumer=self._durable, stream=self._stream)
        self._missing = None

    async def _bind(self, info: ConsumerInfo) -> None:
        workers = _SLOW_WORKERS if self._slow else 1
        limit = info.config.max_ack_pending or _FAST_CAPACITY
        feed = PullFeed(
            self._connection.client,
            self._stream,
            self._durable,
            self._subscriber.consume,
            workers=min(workers, limit) if limit > 0 else workers,
            capacity=workers if self._slow else (min(_FAST_CAPACITY, limit) if limit > 0 else _FAST_CAPACITY),
            ack_wait_s=info.config.ack_wait or _ACK_WAIT_S,
        )
        await feed.start()
        self._connection.on_reconnect(feed.reconnected)
        self._feed = feed

    async def _decode(self, message: StreamMessage[Msg]) -> Any:
        try:
            return self._decoder.decode(message.raw_message.data)
        except RejectedError as error:
            raise InvalidBodyError(error.message) from None

    async def _handle(self, body: Any) -> None:
        envelope = current.get()
        if envelope is None:
            raise FatalError("a handler was called without the delivery rules; register it by Messaging.on")
        await self._user_handler(body, envelope)

    async def _nothing(self) -> None:
        """In place of FastStream's subscription."""

"""`Messaging`: everything that a service does with NATS, over one connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from yaoki.errors import FatalError
from yaoki.messaging.advisories import (
    ADVISORIES_CONSUMER,
    ADVISORIES_STREAM,
    Advisory,
    AdvisoryHandler,
)
from yaoki.messaging.connection import Connection
from yaoki.messaging.dead_letters import DeadLetters
from yaoki.messaging.decoding import StrictDecoder
from yaoki.messaging.delivery import DeliveryRules
from yaoki.messaging.durability import check_sync
from yaoki.messaging.gathering import gather
from yaoki.messaging.keyvalue import NatsKeyValue
from yaoki.messaging.orders import COMMANDS_STREAM, store_order
from yaoki.messaging.publisher import EVENTS_STREAM, JetStreamPublisher
from yaoki.messaging.requests import ask
from yaoki.messaging.serve import Endpoint, ServedService
from yaoki.messaging.subscriber import BoundConsumer
from yaoki.subjects import Subjects
from yaoki.topology import command_durable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from types import TracebackType

    from nats.aio.client import Client
    from nats.js import JetStreamContext

    from yaoki.commands.base import Request
    from yaoki.events.base import Event
    from yaoki.messaging.delivery import DeliveryPolicy
    from yaoki.messaging.gathering import Gathered
    from yaoki.messaging.ports import Envelope, Published
    from yaoki.messaging.settings import NatsSettings

E = TypeVar("E", bound="Event")
# Two and three types are spelled out below, or a checker would join them to their common base.
A = TypeVar("A", bound="Event")
B = TypeVar("B", bound="Event")
C = TypeVar("C", bound="Event")
R = TypeVar("R", bound="Request")


class Messaging:
    """Typed messages over NATS with the delivery rules built in.

    Connect, register handlers, `start`. `stop` gives back what has not been begun, finishes what has, and
    closes. A process that needs several identities opens several.

    Args:
        settings: How to reach NATS.
        service: Name of the service: its dead letters, and default name of its endpoints.
        instance: Name of this process, unique among those of the service.
        policy: How often messages are tried.
    """

    def __init__(
        self, settings: NatsSettings, service: str, instance: str, *, policy: DeliveryPolicy | None = None
    ) -> None:
        self._settings = settings
        self._service = service
        self._instance = instance
        self._policy = policy
        self._connection = Connection(settings, f"{service}/{instance}")
        self._consumers: list[BoundConsumer] = []
        self._services: dict[str, ServedService] = {}
        self._buckets: dict[str, NatsKeyValue] = {}
        self._rules: DeliveryRules | None = None
        self._publisher: JetStreamPublisher | None = None
        self.subjects = Subjects(settings.prefix)

    @classmethod
    def connect(
        cls, settings: NatsSettings, *, service: str, instance: str, policy: DeliveryPolicy | None = None
    ) -> _Connecting:
        """Open the connection; waits, for ever if need be, until NATS is there, and says so.

        Await it, or use it as `async with Messaging.connect(...) as messaging`.

        Raises:
            FatalError: NATS refuses this client.
        """
        return _Connecting(cls(settings, service, instance, policy=policy))

    async def open(self) -> None:
        """Connect; `connect` does this."""
        await self._connection.open()
        source = f"/{self._service}/{self._instance}"
        self._publisher = JetStreamPublisher(
            self.client, self.subjects, source=source, patience_s=self._settings.publish_patience_s
        )
        letters = DeadLetters(self.client, self.subjects, self._service, self._publisher)
        self._rules = DeliveryRules(self._settings.prefix, letters, self._policy)
        self._connection.broker.add_middleware(self._rules)
        try:
            await check_sync(self._settings, self.client)
        except FatalError:
            await self.stop()
            raise

    @property
    def client(self) -> Client:
        """The nats-py connection, for what has no method here."""
        return self._connection.client

    @property
    def jetstream(self) -> JetStreamContext:
        """JetStream's API on this connection."""
        return self.client.jetstream()

    @property
    def publisher(self) -> JetStreamPublisher:
        """Publishes events."""
        if self._publisher is None:
            raise FatalError("Messaging is not connected; use `async with Messaging.connect(...)`")
        return self._publisher

    @property
    def connected(self) -> bool:
        """Whether NATS is there now."""
        return self._connection.connected

    @property
    def instance(self) -> str:
        """Name of this process."""
        return self._instance

    @property
    def service(self) -> str:
        """Name of the service."""
        return self._service

    def healthy(self) -> list[str]:
        """Why this process is not ready, one sentence each; empty when it is."""
        reasons = [] if self.connected else ["NATS is not connected"]
        reasons += [f"NATS refused: {text}" for text in self._connection.violations]
        reasons += [consumer.problem for consumer in self._consumers if consumer.problem is not None]
        return reasons

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Have `callback` run after every reconnect."""
        self._connection.on_reconnect(callback)

    @overload
    def on(
        self,
        *,
        durable: str,
        types: tuple[type[A], type[B]],
        handler: Callable[[A | B, Envelope], Awaitable[None]],
        slow: bool = False,
    ) -> None: ...

    @overload
    def on(
        self,
        *,
        durable: str,
        types: tuple[type[A], type[B], type[C]],
        handler: Callable[[A | B | C, Envelope], Awaitable[None]],
        slow: bool = False,
    ) -> None: ...

    @overload
    def on(
        self,
        *,
        durable: str,
        types: Sequence[type[E]],
        handler: Callable[[E, Envelope], Awaitable[None]],
        slow: bool = False,
    ) -> None: ...

    def on(
        self,
        *,
        durable: str,
        types: Sequence[type[Event]],
        handler: Callable[[Any, Envelope], Awaitable[None]],
        slow: bool = False,
    ) -> None:
        """Have `handler` called for every event of the provisioned consumer `durable`; begins with `start`.

        Args:
            durable: Name of the consumer in the topology; its filters are there.
            types: What may arrive; anything else is a dead letter.
            handler: Idempotent. TransientError: again later. RejectedError: dead letter at once. Anything
                else: again, a few times, then a dead letter.
            slow: True if it may take longer than a few milliseconds: several run side by side then.
                Otherwise one at a time, in the order of the stream.
        """
        self._consume(EVENTS_STREAM, durable, StrictDecoder(types), handler, slow=slow)

    def on_commands(
        self,
        request_type: type[R],
        handler: Callable[[R, Envelope], Awaitable[None]],
        *,
        service: str | None = None,
    ) -> None:
        """Have `handler` called for every stored order of `request_type`; rules as for `on`, always slow."""
        name = service or request_type.service or self._service
        durable = command_durable(name, request_type.verb)
        self._consume(COMMANDS_STREAM, durable, StrictDecoder([request_type]), handler, slow=True)

    def serve(
        self,
        request_type: type[R],
        handler: Callable[[R], Awaitable[msgspec.Struct]],
        *,
        service: str | None = None,
    ) -> None:
        """Answer requests of `request_type` at `api.<service>.<verb>`; begins with `start`.

        Args:
            request_type: The struct that is asked for.
            handler: Returns the reply struct; a YaokiError becomes a typed answer.
            service: Name to answer under; the request's own, or this service's, when left out.
        """
        name = service or request_type.service or self._service
        served = self._services.get(name)
        if served is None:
            served = ServedService(self.client, self.subjects, name, instance=self._instance)
            self._services[name] = served
        served.add(Endpoint(request_type, handler, service=name, instance=self._instance))

    def watch_advisories(self) -> None:
        """Put aside what consumers gave up silently; one service does this, several instances share it."""
        self._consume(
            ADVISORIES_STREAM,
            ADVISORIES_CONSUMER,
            StrictDecoder([Advisory]),
            AdvisoryHandler(self.client, self.subjects, self.publisher),
            slow=True,
        )

    async def start(self) -> None:
        """Begin to consume and to answer; call it again after registering more."""
        for consumer in self._consumers:
            await consumer.start()
        for served in self._services.values():
            await served.start()

    async def stop(self) -> None:
        """Stop gracefully."""
        await asyncio.gather(*(served.stop() for served in self._services.values()))
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))
        await self._connection.close()

    async def request(self, request: Request, *, service: str | None = None, timeout_s: float = 5.0) -> Any:
        """Ask a service and return its reply struct; see `yaoki.messaging.requests.ask` for the errors."""
        return await ask(self.client, self.subjects, request, service=service, timeout_s=timeout_s)

    async def gather(self, request: Request, *, service: str, timeout_s: float = 5.0) -> Gathered[Any]:
        """Ask every instance of a service; see `yaoki.messaging.gathering.gather`."""
        return await gather(self.client, self.subjects, request, service=service, timeout_s=timeout_s)

    async def order(
        self,
        request: Request,
        *,
        message_id: str,
        service: str | None = None,
        correlation: str | None = None,
    ) -> Published:
        """Store a durable order in COMMANDS.

        Args:
            request: A request whose type is `durable`.
            message_id: Identity of the order: the same id within the duplicate window is stored once.
            service: Whose order it is; the request's own when left out.
            correlation: Incident or run.

        Raises:
            TransientError: Not acknowledged; it may still be stored later.
            RejectedError: The type is not durable, or the order too large.
        """
        return await store_order(
            self.client,
            self.subjects,
            request,
            message_id=message_id,
            service=service or type(request).service or self._service,
            source=f"/{self._service}/{self._instance}",
            correlation=correlation,
            patience_s=self._settings.publish_patience_s,
        )

    async def publish_live(self, tokens: Sequence[str], body: msgspec.Struct) -> None:
        """Publish on `live.<tokens>`: not stored, lost for whoever is not listening."""
        await self.client.publish(self.subjects.live(*tokens), msgspec.json.encode(body))

    def kv(self, bucket: str) -> NatsKeyValue:
        """The KV bucket `bucket`."""
        found = self._buckets.get(bucket)
        if found is None:
            found = self._buckets[bucket] = NatsKeyValue(self._connection, bucket)
        return found

    def _consume(
        self,
        stream: str,
        durable: str,
        decoder: StrictDecoder[Any],
        handler: Callable[[Any, Envelope], Awaitable[None]],
        *,
        slow: bool,
    ) -> None:
        if any(consumer.durable == durable for consumer in self._consumers):
            raise FatalError(f"consumer {durable} has a handler already; one handler for each durable name")
        self._consumers.append(
            BoundConsumer(self._connection, stream=stream, durable=durable, decoder=decoder, handler=handler, slow=slow)
        )


class _Connecting:
    """What `Messaging.connect` returns: awaitable, and an asynchronous context manager."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging

    def __await__(self) -> Generator[Any, None, Messaging]:
        return self._open().__await__()

    async def __aenter__(self) -> Messaging:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._messaging.stop()

    async def _open(self) -> Messaging:
        await self._messaging.open()
        return self._messaging

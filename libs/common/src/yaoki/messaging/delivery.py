"""What becomes of a message whose handler failed. The decision is pure; the middleware carries it out.

Invariant: a message leaves its consumer only handled (ack) or stored in DLQ (term); everything else is
delivered again.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors
import structlog
from faststream import BaseMiddleware
from typing_extensions import override

from yaoki.errors import RejectedError, TransientError
from yaoki.messaging import metrics, tracing
from yaoki.messaging.dead_letters import TERM_REASON
from yaoki.messaging.envelope import TRACEPARENT, current, envelope_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from faststream.message import StreamMessage
    from nats.aio.msg import Msg

    from yaoki.messaging.dead_letters import DeadLetters

_log = structlog.get_logger("yaoki.messaging")

_EVENT_TOKENS = 5


class DeliveryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often a message is tried. The consumer's `max_deliver` must be above `transient_attempts`.

    Attributes:
        attempts: Deliveries after which an unexpected error is a dead letter.
        transient_attempts: Deliveries after which even a transient error is one, and after which the
            handler is not called any more: a message that kills its process never gets to the middleware.
        delays_s: Pause before the next delivery, by delivery; the last one is repeated.
        dead_letter_delay_s: Pause when DLQ cannot take the message.
    """

    attempts: int = 5
    transient_attempts: int = 20
    delays_s: tuple[float, ...] = (0.25, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
    dead_letter_delay_s: float = 30.0


class Retry(msgspec.Struct, frozen=True):
    """Deliver again after `delay_s`."""

    delay_s: float


class DeadLetter(msgspec.Struct, frozen=True):
    """Put it aside; `reason` is `invalid`, `rejected` or `max-deliver`, `error` one sentence."""

    reason: str
    error: str


Verdict = Retry | DeadLetter


class InvalidBodyError(RejectedError):
    """The body could not be decoded."""


def decide(error: Exception, deliveries: int, policy: DeliveryPolicy) -> Verdict:
    """What becomes of a message whose `deliveries`-th delivery ended in `error`."""
    if isinstance(error, InvalidBodyError):
        return DeadLetter("invalid", error.message)
    if isinstance(error, RejectedError):
        return DeadLetter("rejected", f"{error.code}: {error.message}")
    limit = policy.transient_attempts if isinstance(error, TransientError) else policy.attempts
    if deliveries >= limit:
        return DeadLetter("max-deliver", f"given up after {deliveries} deliveries: {describe(error)}")
    return Retry(policy.delays_s[min(deliveries, len(policy.delays_s)) - 1])


def describe(error: BaseException) -> str:
    """One sentence for people. Of foreign errors only the type: their text may hold payload or secrets."""
    if isinstance(error, RejectedError | TransientError):
        return f"{error.code}: {error.message}"
    return type(error).__name__


def event_label(subject: str, prefix: str) -> str:
    """A subject without its entity: `evt.probe.failure-detected`; what metrics and spans are called."""
    tokens = subject.removeprefix(f"{prefix}.").split(".")
    if tokens[0] == "evt" and len(tokens) == _EVENT_TOKENS - 1:
        return f"evt.{tokens[1]}.{tokens[3]}"
    return ".".join(tokens[:3]) if tokens[0] in {"cmd", "api"} else tokens[0]


class Delivery:
    """The delivery rules of one consumer.

    Args:
        consumer: Durable name; label of the metrics.
        prefix: Of the subjects.
        policy: How often a message is tried.
        dead_letters: Where messages are put aside.
    """

    def __init__(self, consumer: str, prefix: str, policy: DeliveryPolicy, dead_letters: DeadLetters) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self._policy = policy
        self._dead_letters = dead_letters
        self._labels: dict[str, _Instruments] = {}

    async def handle(self, message: Msg, handler: Callable[[], Awaitable[Any]]) -> None:
        """Run `handler` and settle the message; raises nothing but cancellation."""
        instruments = self._instruments(message)
        envelope = envelope_of(message)
        token = current.set(envelope)
        started = time.perf_counter()
        try:
            with tracing.Consuming(instruments.span, (message.headers or {}).get(TRACEPARENT)):
                self._refuse_hopeless(envelope.deliveries)
                await handler()
        except asyncio.CancelledError:
            # The service stops: somebody else may have it at once.
            await _settle(message.nak())
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is settled here
            outcome = await self._settle_failed(message, error, envelope.deliveries)
        else:
            outcome = "ack"
            await _settle(message.ack())
        finally:
            current.reset(token)
        instruments.seconds.observe(time.perf_counter() - started)
        instruments.count(outcome)

    def _refuse_hopeless(self, deliveries: int) -> None:
        if deliveries > self._policy.transient_attempts:
            raise TransientError("the process died in the handler, or never settled the message")

    async def _settle_failed(self, message: Msg, error: Exception, deliveries: int) -> str:
        verdict = decide(error, deliveries, self._policy)
        if isinstance(verdict, Retry):
            self._report(message, error, deliveries, verdict.delay_s)
            await _settle(message.nak(delay=verdict.delay_s))
            return "retry"
        try:
            await self._dead_letters.put(message, verdict.reason, verdict.error)
        except Exception as failure:  # noqa: BLE001 - no loss, no loop: it comes back when DLQ may be there again
            _log.error("dead letter not stored, will try again", consumer=self._consumer, error=describe(failure))
            await _settle(message.nak(delay=self._policy.dead_letter_delay_s))
            return "retry"
        await _settle(_terminate(message, verdict.reason))
        return "dead-letter"

    def _report(self, message: Msg, error: Exception, deliveries: int, delay_s: float) -> None:
        expected = isinstance(error, TransientError)
        _log.warning(
            "handler failed, will try again",
            consumer=self._consumer,
            kind=event_label(message.subject, self._prefix),
            sequence=message.metadata.sequence.stream,
            deliveries=deliveries,
            delay_s=delay_s,
            error=describe(error),
            exc_info=None if expected else error,
        )

    def _instruments(self, message: Msg) -> _Instruments:
        found = self._labels.get(message.subject)
        if found is None:
            if len(self._labels) > 1024:  # noqa: PLR2004 - subjects hold entities: the cache must stay bounded
                self._labels.clear()
            label = event_label(message.subject, self._prefix)
            found = self._labels[message.subject] = _Instruments(self._consumer, label)
        return found


class _Instruments:
    """Labelled children, looked up once."""

    __slots__ = ("_counters", "seconds", "span")

    def __init__(self, consumer: str, event: str) -> None:
        self.span = f"process {event}"
        self.seconds = metrics.HANDLER_SECONDS.labels(consumer, event)
        self._counters = {
            outcome: metrics.CONSUMED.labels(consumer, event, outcome) for outcome in ("ack", "retry", "dead-letter")
        }

    def count(self, outcome: str) -> None:
        self._counters[outcome].inc()


class DeliveryRules:
    """FastStream's middleware factory: finds the rules of the consumer that a message came from."""

    def __init__(self, prefix: str, dead_letters: DeadLetters, policy: DeliveryPolicy | None = None) -> None:
        self._prefix = prefix
        self._dead_letters = dead_letters
        self._policy = policy or DeliveryPolicy()
        self._deliveries: dict[str, Delivery] = {}

    def __call__(self, msg: Any, /, *, context: Any) -> DeliveryMiddleware:
        """Called by FastStream for each message."""
        return DeliveryMiddleware(msg, context=context, delivery=self._of(msg.metadata.consumer))

    def _of(self, consumer: str) -> Delivery:
        found = self._deliveries.get(consumer)
        if found is None:
            found = Delivery(consumer, self._prefix, self._policy, self._dead_letters)
            self._deliveries[consumer] = found
        return found


class DeliveryMiddleware(BaseMiddleware[Any, Any]):
    """Binds one message to its consumer's rules."""

    __slots__ = ("_delivery",)

    def __init__(self, msg: Any, /, *, context: Any, delivery: Delivery) -> None:
        super().__init__(msg, context=context)
        self._delivery = delivery

    @override
    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Any]], Awaitable[Any]], msg: StreamMessage[Any]
    ) -> None:
        """Decode, handle and settle."""
        await self._delivery.handle(msg.raw_message, lambda: call_next(msg))


async def _settle(answer: Awaitable[Any]) -> None:
    """An answer that cannot be sent is a redelivery after ack_wait, no more."""
    try:
        await answer
    except nats.errors.Error as error:
        _log.warning("message not settled, it will be delivered again", error=type(error).__name__)


async def _terminate(message: Msg, reason: str) -> None:
    """TERM with its reason, which nats-py cannot send: it shows in the MSG_TERMINATED advisory."""
    await message._client.publish(message.reply, f"+TERM {TERM_REASON}: {reason}".encode())  # noqa: SLF001 - as above
    message._ackd = True  # noqa: SLF001 - as above

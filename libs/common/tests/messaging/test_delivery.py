"""What becomes of messages whose handler fails, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from yaoki.errors import ConflictError, RejectedError, TransientError
from yaoki.events.agent import ServerStarted
from yaoki.events.delivery import MessageDeadLettered, Severity
from yaoki.messaging.delivery import (
    DeadLetter,
    DeliveryPolicy,
    InvalidBodyError,
    Retry,
    decide,
    event_label,
)
from yaoki.testing import eventually

from .observing import Recorder, letters, stream_messages, unsettled

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.messaging import Messaging

    Build = Callable[[str], ServerStarted]

POLICY = DeliveryPolicy(attempts=3, transient_attempts=6, delays_s=(1.0, 2.0, 4.0))


def listen(messaging: Messaging, handler: Recorder[ServerStarted], *, slow: bool = False) -> None:
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler, slow=slow)


@pytest.mark.parametrize(
    ("error", "deliveries", "verdict"),
    [
        (TransientError("away"), 1, Retry(1.0)),
        (TransientError("away"), 2, Retry(2.0)),
        (ConflictError("lost"), 5, Retry(4.0)),
        (KeyError("secret"), 2, Retry(2.0)),
    ],
)
def test_failures_are_tried_again_with_growing_delay(error: Exception, deliveries: int, verdict: Retry) -> None:
    assert decide(error, deliveries, POLICY) == verdict


@pytest.mark.parametrize(
    ("error", "deliveries", "reason"),
    [
        (InvalidBodyError("no JSON"), 1, "invalid"),
        (RejectedError("no such target"), 1, "rejected"),
        (KeyError("secret"), 3, "max-deliver"),
        (TransientError("away"), 6, "max-deliver"),
    ],
)
def test_what_cannot_succeed_is_put_aside(error: Exception, deliveries: int, reason: str) -> None:
    verdict = decide(error, deliveries, POLICY)
    assert isinstance(verdict, DeadLetter)
    assert verdict.reason == reason


def test_a_foreign_error_text_never_leaves_the_process() -> None:
    verdict = decide(ValueError("password=hunter2"), 3, POLICY)
    assert isinstance(verdict, DeadLetter)
    assert "hunter2" not in verdict.error
    assert "ValueError" in verdict.error


@pytest.mark.parametrize(
    ("subject", "label"),
    [
        ("yaoki.evt.probe.orders-db.failure-detected", "evt.probe.failure-detected"),
        ("yaoki.cmd.recovery.run", "cmd.recovery.run"),
        ("yaoki.dlq.recovery", "dlq"),
    ],
)
def test_labels_hold_no_entity(subject: str, label: str) -> None:
    assert event_label(subject, "yaoki") == label


@pytest.mark.real
async def test_a_transient_error_is_delivered_again_after_the_delay(messaging: Messaging, started: Build) -> None:
    handler = Recorder[ServerStarted](TransientError("not yet"), TransientError("not yet"))
    listen(messaging, handler)
    await messaging.start()
    await messaging.publisher.publish(started("pg-a"))
    await eventually(lambda: len(handler.calls) == 3)
    first, second = handler.gaps
    assert first >= 0.19
    assert second >= 0.39
    assert [envelope.deliveries for _, envelope, _ in handler.calls] == [1, 2, 3]
    await eventually(lambda: unsettled_is_zero(messaging))
    assert await letters(messaging) == []


async def unsettled_is_zero(messaging: Messaging) -> bool:
    return await unsettled(messaging, "EVENTS", "recovery-starts") == 0


@pytest.mark.real
async def test_a_rejected_message_is_put_aside_at_once_and_the_next_one_handled(
    messaging: Messaging, started: Build
) -> None:
    handler = Recorder[ServerStarted](RejectedError("no such cluster 'orders'"))
    listen(messaging, handler)
    await messaging.start()
    await messaging.publisher.publish(started("pg-a"), event_id="one", correlation="incident-1")
    await messaging.publisher.publish(started("pg-b"))
    await eventually(lambda: len(handler.calls) == 2)
    found = await eventually(lambda: letters(messaging))
    (letter,) = found
    headers = letter.headers or {}
    assert letter.subject == "yaoki.dlq.recovery"
    assert msgspec.json.decode(letter.data or b"", type=ServerStarted).member == "pg-a"
    assert headers["yaoki-dlq-reason"] == "rejected"
    assert headers["yaoki-dlq-error"] == "invalid: no such cluster 'orders'"
    assert headers["yaoki-dlq-subject"] == "yaoki.evt.agent.agent-pg-a.server-started"
    assert headers["yaoki-dlq-stream"] == "EVENTS"
    assert headers["yaoki-dlq-consumer"] == "recovery-starts"
    assert headers["yaoki-dlq-sequence"] == "1"
    assert headers["yaoki-dlq-deliveries"] == "1"
    assert headers["ce-id"] == "one"
    assert headers["yaoki-correlation"] == "incident-1"
    assert headers["Nats-Expected-Stream"] == "DLQ"
    await eventually(lambda: unsettled_is_zero(messaging))
    info = await messaging.jetstream.consumer_info("EVENTS", "recovery-starts")
    assert info.delivered is not None
    assert info.delivered.consumer_seq == 2


@pytest.mark.real
async def test_a_dead_letter_is_an_event_as_well(messaging: Messaging, started: Build) -> None:
    listen(messaging, Recorder(RejectedError("no")))
    await messaging.start()
    await messaging.publisher.publish(started("pg-a"), correlation="incident-1")

    async def dead_lettered() -> list[MessageDeadLettered]:
        return [
            msgspec.json.decode(message.data or b"", type=MessageDeadLettered)
            for message in await stream_messages(messaging, "EVENTS")
            if message.subject == "yaoki.evt.delivery.recovery.message-dead-lettered"
        ]

    (event,) = await eventually(dead_lettered)
    assert event == MessageDeadLettered(
        service="recovery",
        original_subject="yaoki.evt.agent.agent-pg-a.server-started",
        reason="rejected",
        error="invalid: no",
        dlq_sequence=1,
        severity=Severity.WARNING,
    )


@pytest.mark.real
async def test_an_unexpected_error_is_tried_up_to_the_limit(messaging: Messaging, started: Build) -> None:
    handler = Recorder[ServerStarted](always=KeyError("password"))
    listen(messaging, handler)
    await messaging.start()
    await messaging.publisher.publish(started("pg-a"))
    (letter,) = await eventually(lambda: letters(messaging))
    headers = letter.headers or {}
    # A delivery whose end arrived too late is repeated: at least once is what is promised.
    assert len(handler.calls) >= 3
    assert headers["yaoki-dlq-reason"] == "max-deliver"
    assert "password" not in headers["yaoki-dlq-error"]


@pytest.mark.real
async def test_without_a_dead_letter_stream_nothing_is_lost_and_nothing_spins(
    messaging: Messaging, started: Build
) -> None:
    handler = Recorder[ServerStarted](always=RejectedError("no"))
    listen(messaging, handler)
    dlq = (await messaging.jetstream.stream_info("DLQ")).config
    await messaging.jetstream.delete_stream("DLQ")
    await messaging.start()
    await messaging.publisher.publish(started("pg-a"))
    await eventually(lambda: len(handler.calls) >= 3)
    assert min(handler.gaps) >= 0.19
    await messaging.jetstream.add_stream(dlq)
    (letter,) = await eventually(lambda: letters(messaging))
    assert msgspec.json.decode(letter.data or b"", type=ServerStarted).member == "pg-a"
    await eventually(lambda: unsettled_is_zero(messaging))


@pytest.mark.real
async def test_a_failing_subscriber_of_dead_letters_does_not_breed_them(messaging: Messaging) -> None:
    handler = Recorder[MessageDeadLettered](always=RejectedError("no"))
    await add_consumer(messaging, "recovery-letters", "yaoki.evt.*.*.message-dead-lettered")
    messaging.on(durable="recovery-letters", types=(MessageDeadLettered,), handler=handler)
    await messaging.start()
    event = MessageDeadLettered(service="x", original_subject="y", reason="rejected", error="z", dlq_sequence=1)
    await messaging.publisher.publish(event)
    await eventually(lambda: letters(messaging))

    async def settled() -> bool:
        return await unsettled(messaging, "EVENTS", "recovery-letters") == 0

    await eventually(settled)
    assert (await messaging.jetstream.stream_info("EVENTS")).state.messages == 1


async def add_consumer(messaging: Messaging, durable: str, subject: str) -> None:
    from nats.js.api import ConsumerConfig  # noqa: PLC0415 - used here alone

    await messaging.jetstream.add_consumer(
        "EVENTS",
        ConsumerConfig(durable_name=durable, filter_subject=subject, ack_wait=30, max_deliver=30, max_ack_pending=64),
    )

"""Malformed input on every subject that takes input: refused with a reason, consumer alive, nothing executed."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
import pytest
from yaoki.commands import REQUESTS, Request
from yaoki.errors import ErrorCode, RejectedError
from yaoki.events.agent import ServerStarted
from yaoki.events.probe import FailureDetected
from yaoki.messaging.decoding import StrictDecoder
from yaoki.messaging.examples import example_json
from yaoki.testing import eventually, patient

from .observing import Recorder, letters, unsettled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from nats.js.api import RawStreamMsg
    from yaoki.events import Event
    from yaoki.messaging import Messaging

    Build = Callable[[str], ServerStarted]

NOISE = bytes(range(256)) * 8
MEBIBYTE = b"x" * 1024 * 1024

UNDECODABLE = {
    "malformed": b'{"agent": "a"',
    "empty": b"",
    "not an object": b"[1, 2]",
    "number": b"0",
    "binary noise": NOISE,
    "bad utf-8": b'{"type": "ServerStarted", "agent": "\xff\xfe"}',
    "deeply nested": b"[" * 100_000,
    "one mebibyte": MEBIBYTE,
}

BAD_EVENTS = UNDECODABLE | {
    "unknown type": b'{"type": "ServerExploded", "agent": "a"}',
    "missing field": b'{"type": "ServerStarted", "agent": "a"}',
    "wrong field type": b'{"type":"ServerStarted","agent":1,"cluster":"c","member":"m","epoch":[1,1],"role":"r"}',
    "number as text": (b'{"type":"ServerStarted","agent":"a","cluster":"c","member":"m","epoch":["1",1],"role":"r"}'),
}

DURABLE = [request for request in REQUESTS if request.durable]
SERVED = [(request, request.service or "agent-pg-a") for request in REQUESTS]


async def letters_of(messaging: Messaging, bodies: Collection[bytes]) -> list[RawStreamMsg]:
    """All letters, once the parts of each message together are its body."""
    found = await letters(messaging)
    whole: dict[str, bytes] = {}
    for letter in found:
        sequence = (letter.headers or {})["yaoki-dlq-sequence"]
        whole[sequence] = whole.get(sequence, b"") + (letter.data or b"")
    missing = [body[:40] for body in bodies if body not in whole.values()]
    assert not missing, f"not put aside whole: {missing}"
    assert len(whole) == len(bodies)
    return found


@pytest.mark.real
async def test_bad_events_are_put_aside_whole(messaging: Messaging, started: Build) -> None:
    """Each is followed by a good one, which is handled."""
    handler = Recorder[ServerStarted]()
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
    await messaging.start()
    for name, body in BAD_EVENTS.items():
        await messaging.jetstream.publish("yaoki.evt.agent.a.server-started", body)
        await messaging.publisher.publish(started(name))
    await eventually(lambda: [event.member for event, _, _ in handler.calls] == list(BAD_EVENTS), within=20)
    found = await eventually(lambda: letters_of(messaging, BAD_EVENTS.values()), within=20)
    for letter in found:
        headers = letter.headers or {}
        assert headers["yaoki-dlq-reason"] == "invalid"
        assert len(unquote(headers["yaoki-dlq-error"])) > 20
        assert headers["yaoki-dlq-subject"] == "yaoki.evt.agent.a.server-started"

    async def settled() -> bool:
        return await unsettled(messaging, "EVENTS", "recovery-starts") == 0

    await eventually(settled)
    await eventually(lambda: messaging.healthy() == [])


@pytest.mark.real
@pytest.mark.parametrize("request_type", DURABLE, ids=lambda kind: kind.__name__)
async def test_bad_orders_are_put_aside_and_the_next_ones_carried_out(
    messaging: Messaging, request_type: type[Request]
) -> None:
    handler = Recorder[Any]()
    messaging.on_commands(request_type, handler)
    await messaging.start()
    subject = messaging.subjects.command(request_type.service, request_type.verb)
    orders = [f"order-{number}" for number, _ in enumerate(UNDECODABLE)]
    for order_id, body in zip(orders, UNDECODABLE.values(), strict=True):
        await messaging.jetstream.publish(subject, body)
        await messaging.order(good(request_type), message_id=order_id)
    await eventually(lambda: {envelope.id for _, envelope, _ in handler.calls} == set(orders), within=20)
    found = await eventually(lambda: letters_of(messaging, UNDECODABLE.values()), within=20)
    assert {(letter.headers or {})["yaoki-dlq-reason"] for letter in found} == {"invalid"}

    async def queue_is_empty() -> bool:
        return (await messaging.jetstream.stream_info("COMMANDS")).state.messages == 0

    await eventually(queue_is_empty)


@pytest.mark.real
async def test_every_endpoint_answers_bad_requests_with_a_sentence(messaging: Messaging) -> None:
    async def never(_: Request) -> msgspec.Struct:
        raise AssertionError("executed")

    for request_type, service in SERVED:
        messaging.serve(request_type, never, service=service)
    await messaging.start()
    bodies = (*UNDECODABLE.values(), b'{"no_such_field": 1}')
    for (request_type, service), body in itertools.product(SERVED, bodies):
        asked = (request_type.__name__, body[:40])
        subject = messaging.subjects.api(service, request_type.verb)
        message = await messaging.client.request(subject, body, timeout=patient(5))
        headers = message.headers or {}
        assert headers["Nats-Service-Error-Code"] == "400", asked
        sentence = headers["Nats-Service-Error"]
        assert "expected" in sentence, asked
        assert "executed" not in sentence, asked
        assert "unknown field" in sentence or "such as {" in sentence, asked
        assert msgspec.json.decode(message.data)["code"] == "invalid", asked


@pytest.mark.parametrize("request_type", REQUESTS, ids=lambda kind: kind.__name__)
def test_the_example_of_every_request_is_accepted(request_type: type[Request]) -> None:
    assert isinstance(good(request_type), request_type)


def good(request_type: type[Request]) -> Request:
    return StrictDecoder([request_type]).decode(example_json(request_type).encode())


@pytest.mark.parametrize(
    ("body", "fragments"),
    [
        (b"{", ["is not JSON", "expected", '"target":"<target>"']),
        (b"", ["empty", "expected"]),
        (b'{"type":"Nonsense"}', ["`$.type`", "not allowed", "FailureDetected"]),
        (b'{"type":"FailureDetected","target":5}', ["`str`", "`int`", "$.target"]),
        (b'{"type":"FailureDetected","target":"x"}', ["missing required field"]),
    ],
)
def test_sentences_name_field_and_expectation(body: bytes, fragments: list[str]) -> None:
    with pytest.raises(RejectedError) as caught:
        StrictDecoder([FailureDetected]).decode(body)
    for fragment in fragments:
        assert fragment in caught.value.message
    assert caught.value.code is ErrorCode.INVALID
    assert caught.value.__cause__ is None


def test_allowed_values_are_listed_and_the_senders_value_is_not_repeated() -> None:
    body = (
        b'{"type":"FailureDetected","target":"x","target_kind":"k","region":"r","vantage":"v",'
        b'"failure_type":"hunter2","incident_id":"i","first_failed_at":"2026-01-01T00:00:00Z","failures":3}'
    )
    with pytest.raises(RejectedError) as caught:
        StrictDecoder([FailureDetected]).decode(body)
    assert "$.failure_type" in caught.value.message
    assert "database_connection" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_random_noise_never_raises_anything_else() -> None:
    decoder: StrictDecoder[Event] = StrictDecoder((ServerStarted, FailureDetected))
    for size in (1, 7, 64, 4096):
        with pytest.raises(RejectedError):
            decoder.decode(os.urandom(size))

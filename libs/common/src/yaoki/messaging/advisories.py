"""Dead letters for messages that their consumer gave up without anybody saying so.

A process that dies in its handler, or a foreign TERM, never passes the delivery rules; the server then only publishes
an advisory with the message's place in the stream. The stream ADVISORIES keeps those until somebody has dealt
with them here.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from yaoki.messaging.dead_letters import TERM_REASON, DeadLetters, Origin
from yaoki.messaging.jsapi import JetStreamApi

if TYPE_CHECKING:
    from nats.aio.client import Client

    from yaoki.messaging.ports import Envelope
    from yaoki.messaging.publisher import JetStreamPublisher
    from yaoki.subjects import Subjects

_log = structlog.get_logger("yaoki.messaging")

ADVISORIES_STREAM = "ADVISORIES"
ADVISORIES_CONSUMER = "advisories"
_WATCHED = frozenset({"EVENTS", "COMMANDS"})
_WORK_QUEUE = "COMMANDS"


class Advisory(msgspec.Struct, frozen=True):
    """What the server says of a message that a consumer gave up (`io.nats.jetstream.advisory.v1`)."""

    stream: str
    consumer: str
    stream_seq: int
    type: str = ""
    deliveries: int = 0
    reason: str = ""


class AdvisoryHandler:
    """Fetches the message by its place in the stream and puts it aside."""

    def __init__(self, client: Client, subjects: Subjects, publisher: JetStreamPublisher) -> None:
        self._client = client
        self._subjects = subjects
        self._publisher = publisher
        self._api = JetStreamApi(client)

    async def __call__(self, advisory: Advisory, _: Envelope) -> None:
        """Handle one advisory; repeats store one letter."""
        if advisory.stream not in _WATCHED or advisory.reason.startswith(TERM_REASON):
            return
        found = await self._api.call(f"STREAM.MSG.GET.{advisory.stream}", {"seq": advisory.stream_seq})
        if found is None:
            _log.warning(
                "message given up is not in its stream any more",
                stream=advisory.stream,
                sequence=advisory.stream_seq,
            )
            return
        await self._put(advisory, found["message"])
        if advisory.stream == _WORK_QUEUE:
            # Nobody will acknowledge it any more, and a work queue keeps it until somebody does.
            await self._api.call(f"STREAM.MSG.DELETE.{_WORK_QUEUE}", {"seq": advisory.stream_seq})

    async def _put(self, advisory: Advisory, message: dict[str, Any]) -> None:
        # Consumers are named `<service>-<purpose>`.
        service = advisory.consumer.partition("-")[0]
        letters = DeadLetters(self._client, self._subjects, service, self._publisher)
        terminated = "terminated" in advisory.type
        await letters.put_raw(
            base64.b64decode(message.get("data", "")),
            _headers(base64.b64decode(message.get("hdrs", ""))),
            Origin(
                subject=message["subject"],
                stream=advisory.stream,
                consumer=advisory.consumer,
                sequence=advisory.stream_seq,
                deliveries=advisory.deliveries,
            ),
            "terminated" if terminated else "max-deliver",
            f"the consumer gave it up after {advisory.deliveries} deliveries without an answer of its handler",
        )


def _headers(raw: bytes) -> dict[str, str]:
    """The header block as stored: a version line, then `key: value` lines."""
    headers = {}
    for line in raw.decode("utf-8", "replace").split("\r\n")[1:]:
        key, colon, value = line.partition(":")
        if colon:
            headers[key] = value.strip()
    return headers

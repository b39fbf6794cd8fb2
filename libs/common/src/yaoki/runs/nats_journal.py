"""The journal of runs in the stream EVENTS."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec
import nats.errors

from yaoki.clock import Clock, SystemClock
from yaoki.errors import ConflictError, ErrorCode, TransientError
from yaoki.events import EVENT_TYPES
from yaoki.events.runs import RunEvent
from yaoki.messaging import tracing
from yaoki.messaging.envelope import CAUSATION, MESSAGE_ID, TRACEPARENT, escape, event_headers, timestamp
from yaoki.messaging.jsapi import JetStreamApi
from yaoki.messaging.publisher import EVENTS_STREAM
from yaoki.messaging.store import (
    EXPECTED_LAST_SUBJECT_FILTER,
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    EXPECTED_STREAM,
    WRONG_LAST_SEQUENCE,
    AmbiguousWriteError,
    RefusedWriteError,
    store,
)
from yaoki.runs.errors import JournalDamagedError, JournalFromFutureError
from yaoki.runs.ports import Recorded

if TYPE_CHECKING:
    from nats.aio.client import Client

    from yaoki.subjects import Subjects

_KNOWN = {kind.__name__: kind for kind in EVENT_TYPES if issubclass(kind, RunEvent)}
_NO_MESSAGE = 10037
_READ_S = 5.0
_SETTLE_S = 15.0


class _Tag(msgspec.Struct):
    type: str = ""


class _Message(msgspec.Struct):
    subject: str
    seq: int
    time: str
    data: str = ""
    hdrs: str = ""


class _Failure(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Reply(msgspec.Struct):
    message: _Message | None = None
    error: _Failure | None = None


class NatsJournal:
    """See `yaoki.runs.ports.Journal`.

    Every append carries the sequence of the run's last entry over the wildcard of its subject, so that of several
    writers exactly one wins each place. It reads from the stream's leader, message by message: what it returns
    was acknowledged by a majority.

    Args:
        client: The connection.
        subjects: Where journals are.
        source: `ce-source` of the entries, e.g. `/recovery/recovery-1`.
    """

    def __init__(self, client: Client, subjects: Subjects, *, source: str, clock: Clock | None = None) -> None:
        self._client = client
        self._subjects = subjects
        self._source = source
        self._clock = clock or SystemClock()
        self._encoder = msgspec.json.Encoder()
        self._incarnation: int | None = None

    async def append(self, event: RunEvent, *, after: int, event_id: str) -> Recorded:
        """See `Journal.append`."""
        subject, fixed = _address(self._subjects, self._source, event.run_kind, event.run_id, type(event))
        body = self._encoder.encode(event)
        at = self._clock.now()
        identity = escape(event_id)
        headers = {
            **fixed,
            "ce-id": identity,
            MESSAGE_ID: identity,
            "ce-time": timestamp(at),
            EXPECTED_LAST_SUBJECT_SEQUENCE: str(after),
        }
        if traceparent := tracing.traceparent():
            headers[TRACEPARENT] = traceparent
        deadline = time.monotonic() + _SETTLE_S
        while True:
            try:
                ack = await store(self._client, subject, body, headers)
            except AmbiguousWriteError:
                if time.monotonic() >= deadline:
                    raise
            except RefusedWriteError as error:
                if error.err_code not in WRONG_LAST_SEQUENCE:
                    raise
                return await self._won_or_lost(event, after, event_id, error)
            else:
                if ack.duplicate:
                    return await self._stored_before(event, event_id)
                return Recorded(event=event, id=event_id, sequence=ack.seq, at=at)

    async def _won_or_lost(self, event: RunEvent, after: int, event_id: str, cause: Exception) -> Recorded:
        """A refused place may be taken by this very entry, of which an earlier copy was not acknowledged."""
        for entry in await self.load(event.run_kind, event.run_id, after=after):
            if entry.id == event_id:
                return entry
        raise ConflictError(
            f"run {event.run_id} has gone on beyond sequence {after}; read it and decide again"
        ) from cause

    async def _stored_before(self, event: RunEvent, event_id: str) -> Recorded:
        for entry in await self.load(event.run_kind, event.run_id):
            if entry.id == event_id:
                return entry
        raise TransientError(f"run {event.run_id}: entry {event_id} is stored but cannot be read yet")

    async def load(self, run_kind: str, run_id: str, *, after: int = 0) -> list[Recorded]:
        """See `Journal.load`."""
        wildcard = self._subjects.run(run_kind, run_id)
        entries: list[Recorded] = []
        damage: JournalDamagedError | None = None
        while True:
            message = await self._next(wildcard, after + 1)
            if message is None:
                break
            if damage is None:
                try:
                    entries.append(_recorded(message, run_kind, run_id, after=after))
                except JournalDamagedError as error:
                    damage = error
            after = message.seq
        if damage is not None:
            raise JournalDamagedError(damage.message, last=after, sound=entries)
        return entries

    async def incarnation(self) -> int:
        """See `Journal.incarnation`. Read once: it changes only with a new, empty stream."""
        if self._incarnation is None:
            api = JetStreamApi(self._client, patience_s=_READ_S)
            found = await api.call(f"STREAM.INFO.{EVENTS_STREAM}")
            if found is None:
                raise TransientError(f"there is no stream {EVENTS_STREAM}; run `yaoki provision`")
            self._incarnation = int(_time(found["created"]).timestamp() * 1000)
        return self._incarnation

    async def _next(self, wildcard: str, sequence: int) -> _Message | None:
        """The first message of the run at `sequence` or above."""
        question = msgspec.json.encode({"seq": sequence, "next_by_subj": wildcard})
        try:
            answer = await self._client.request(f"$JS.API.STREAM.MSG.GET.{EVENTS_STREAM}", question, timeout=_READ_S)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise TransientError(
                f"the journal {wildcard} cannot be read: NATS did not answer ({type(error).__name__})",
                code=ErrorCode.TIMEOUT,
            ) from error
        reply = msgspec.json.decode(answer.data, type=_Reply)
        if reply.error is None:
            return reply.message
        if reply.error.err_code == _NO_MESSAGE:
            return None
        raise TransientError(
            f"the journal {wildcard} cannot be read: {reply.error.description} (err_code {reply.error.err_code})"
        )


@lru_cache(maxsize=1024)
def _address(
    subjects: Subjects, source: str, run_kind: str, run_id: str, kind: type[RunEvent]
) -> tuple[str, dict[str, str]]:
    """Subject of an entry, and the headers that are the same in all entries of its kind. Never changed."""
    name = kind.event_name()
    headers = event_headers(
        event_id="",
        source=source,
        event_type=f"{subjects.prefix}.{run_kind}.{name}",
        subject=run_id,
        at=datetime.fromtimestamp(0, UTC),
        correlation=run_id,
    )
    headers.pop(CAUSATION, None)  # of whichever message was being handled when this was first asked for
    headers[EXPECTED_STREAM] = EVENTS_STREAM
    headers[EXPECTED_LAST_SUBJECT_FILTER] = subjects.run(run_kind, run_id)
    return subjects.event(run_kind, run_id, name), headers


def _recorded(message: _Message, run_kind: str, run_id: str, *, after: int) -> Recorded:
    body = base64.b64decode(message.data)
    event = _decode(body, message.seq)
    if (event.run_kind, event.run_id) != (run_kind, run_id):
        raise JournalDamagedError(
            f"run {run_id}: the entry at sequence {message.seq} names run {event.run_id!r}", last=message.seq
        )
    headers = _headers(base64.b64decode(message.hdrs)) if message.hdrs else {}
    before = headers.get(EXPECTED_LAST_SUBJECT_SEQUENCE)
    if before != str(after):
        # What an append was checked against stays with the entry: each one names the one before it.
        found = "was written past the executor" if before is None else f"was written after sequence {before}"
        raise JournalDamagedError(
            f"run {run_id}: the entry at sequence {message.seq} {found}, the one before it has sequence {after}; "
            "entries were lost, or something else than the executor writes there",
            last=message.seq,
        )
    identity = headers.get("ce-id")
    return Recorded(
        event=event,
        id=unquote(identity) if identity else f"{EVENTS_STREAM}-{message.seq}",
        sequence=message.seq,
        at=_time(message.time),
    )


def _decode(body: bytes, sequence: int) -> RunEvent:
    try:
        name = msgspec.json.decode(body, type=_Tag).type
        kind = _KNOWN.get(name)
        if kind is not None:
            return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise JournalDamagedError(
            f"the journal entry at sequence {sequence} cannot be read ({type(error).__name__})", last=sequence
        ) from None
    raise JournalFromFutureError(
        f"the journal entry at sequence {sequence} is a {name[:64]!r}, which this version does not know; "
        "leave the run to the version that wrote it, or upgrade this one"
    )


def _headers(raw: bytes) -> dict[str, str]:
    lines = raw.decode("utf-8", "replace").split("\r\n")[1:]
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines if ":" in line)}


def _time(text: str) -> datetime:
    """NATS writes nanoseconds, Python reads microseconds."""
    head, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{fraction[:6]:0<6}").replace(tzinfo=UTC)

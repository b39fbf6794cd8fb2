"""KV buckets over JetStream: lost acknowledgements are settled, watches do not go deaf."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
import nats.errors

from yaoki.clock import Uuid7Source
from yaoki.errors import ConflictError, ErrorCode, TransientError
from yaoki.messaging.envelope import MESSAGE_ID
from yaoki.messaging.keys import check_key
from yaoki.messaging.kvwatch import Watch, read_entries, read_keys
from yaoki.messaging.ports import Entry
from yaoki.messaging.store import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    WRONG_LAST_SEQUENCE,
    AmbiguousWriteError,
    RefusedWriteError,
    store,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.messaging.connection import Connection

_OPERATION = "KV-Operation"
_MARKER = "Nats-Marker-Reason"
_TTL = "Nats-TTL"
_NOT_FOUND = 404
_PAUSE_S = 0.1
# Many values take longer than one; a listing that has made no progress for seconds is begun again before.
_LISTING_S = 60.0
# Deletion markers are of use only to watchers; without a TTL they would pile up for ever in buckets whose
# keys are used once.
_MARKER_TTL = "3600s"


class _Stored(msgspec.Struct):
    seq: int
    hdrs: bytes = b""
    data: bytes = b""


class _GetError(msgspec.Struct):
    code: int = 0
    description: str = ""


class _GetReply(msgspec.Struct):
    message: _Stored | None = None
    error: _GetError | None = None


_GET_REPLY = msgspec.json.Decoder(_GetReply)


class NatsKeyValue:
    """`KeyValue` over one bucket. Reads are answered by the stream's leader, so that they see the last write.

    Args:
        connection: To NATS.
        bucket: Name of the bucket; provisioned with history 1 and per-message TTL.
        timeout_s: For one attempt.
        patience_s: How long an operation is repeated before it is given up as a TransientError.
    """

    def __init__(self, connection: Connection, bucket: str, *, timeout_s: float = 2.0, patience_s: float = 6.0) -> None:
        self._connection = connection
        self._bucket = bucket
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._ids = Uuid7Source()

    async def get(self, key: str) -> Entry | None:
        """See `KeyValue.get`."""
        stored = await self._read(check_key(key))
        if stored is None or _deleted(stored.hdrs):
            return None
        return Entry(key=key, value=stored.data, revision=stored.seq)

    async def create(self, key: str, value: bytes, *, ttl_s: float | None = None) -> int:
        """See `KeyValue.create`."""
        headers = _ttl(ttl_s)
        try:
            return await self._compare_and_set(key, value, 0, headers)
        except ConflictError:
            # A deletion marker is a version too: write over exactly that one.
            marker = await self._read(key)
            if marker is None or not _deleted(marker.hdrs):
                raise ConflictError(f"key {key!r} of {self._bucket} exists already") from None
        return await self._compare_and_set(key, value, marker.seq, headers)

    async def update(self, key: str, value: bytes, *, revision: int, ttl_s: float | None = None) -> int:
        """See `KeyValue.update`."""
        return await self._compare_and_set(key, value, revision, _ttl(ttl_s))

    async def put(self, key: str, value: bytes) -> int:
        """See `KeyValue.put`."""
        return await self._write(key, value, {})

    async def delete(self, key: str, *, revision: int | None = None) -> None:
        """See `KeyValue.delete`."""
        headers = {_OPERATION: "DEL", _TTL: _MARKER_TTL}
        if revision is not None:
            await self._compare_and_set(key, b"", revision, headers)
        elif await self.get(key) is not None:
            await self._write(key, b"", headers)

    async def keys(self, prefix: str = "") -> list[str]:
        """See `KeyValue.keys`."""
        return await read_keys(self._connection, self._bucket, prefix, timeout_s=self._patience_s)

    async def entries(self, prefix: str = "") -> list[Entry]:
        """See `KeyValue.entries`."""
        return await read_entries(self._connection, self._bucket, prefix, timeout_s=_LISTING_S)

    async def watch(self, prefix: str = "") -> AsyncIterator[Entry]:
        """See `KeyValue.watch`. A key that lapses by its TTL is reported only after a reconnect."""
        watch = Watch(self._connection, self._bucket, prefix)
        try:
            async for entry in watch.entries():
                yield entry
        finally:
            await watch.close()

    async def _compare_and_set(self, key: str, value: bytes, revision: int, headers: dict[str, str]) -> int:
        expected = headers | {EXPECTED_LAST_SUBJECT_SEQUENCE: str(revision)}
        return await self._write(key, value, expected, revision=revision)

    async def _write(self, key: str, value: bytes, headers: dict[str, str], *, revision: int | None = None) -> int:
        """Write with an identity, repeat while unanswered, settle a refusal after a lost acknowledgement."""
        identity = self._ids.new()
        subject = f"$KV.{self._bucket}.{check_key(key)}"
        headers = headers | {MESSAGE_ID: identity}
        deadline = time.monotonic() + self._patience_s
        unanswered = False
        while True:
            try:
                ack = await store(self._connection.client, subject, value, headers, timeout_s=self._timeout_s)
            except RefusedWriteError as refusal:
                if refusal.err_code not in WRONG_LAST_SEQUENCE:
                    raise
                return await self._settle(key, identity, revision, unanswered=unanswered)
            except TransientError as error:
                unanswered = unanswered or isinstance(error, AmbiguousWriteError)
                if time.monotonic() + _PAUSE_S >= deadline:
                    raise
            else:
                return ack.seq
            await asyncio.sleep(_PAUSE_S)

    async def _settle(self, key: str, identity: str, revision: int | None, *, unanswered: bool) -> int:
        """Tell a write of ours, whose acknowledgement was lost, from somebody else's: by its identity."""
        newest = await self._read(key)
        if newest is not None and _header(newest.hdrs, MESSAGE_ID) == identity:
            return newest.seq
        found = 0 if newest is None else newest.seq
        if unanswered and found != (revision or 0):
            # Ours may have been stored and then written over: history is 1, nobody can tell.
            raise TransientError(
                f"a write of {self._bucket}/{key} was not acknowledged and revision {found} by somebody else "
                "lies there now; read it and decide again",
                code=ErrorCode.TIMEOUT,
            )
        raise ConflictError(
            f"key {key!r} of {self._bucket} is at revision {found}, not {revision}; read it and decide again"
        )

    async def _read(self, key: str) -> _Stored | None:
        """The newest version, deletion markers included."""
        stream = f"KV_{self._bucket}"
        body = msgspec.json.encode({"last_by_subj": f"$KV.{self._bucket}.{key}"})
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                message = await self._connection.client.request(
                    f"$JS.API.STREAM.MSG.GET.{stream}", body, timeout=self._timeout_s
                )
                reply = _GET_REPLY.decode(message.data)
            except (TimeoutError, nats.errors.Error, OSError) as error:
                if time.monotonic() + _PAUSE_S >= deadline:
                    raise TransientError(
                        f"NATS did not answer a read of {self._bucket}/{key} within {self._patience_s} s",
                        code=ErrorCode.TIMEOUT,
                    ) from error
            else:
                if reply.message is not None:
                    return reply.message
                if reply.error is None or "no message found" in reply.error.description:
                    return None
                if reply.error.code == _NOT_FOUND or time.monotonic() + _PAUSE_S >= deadline:
                    raise TransientError(
                        f"bucket {self._bucket} cannot be read: {reply.error.description}; "
                        "has `yaoki provision` been run?"
                    )
            await asyncio.sleep(_PAUSE_S)


def _ttl(ttl_s: float | None) -> dict[str, str]:
    """The server's granularity is a second; shorter would be refused."""
    return {} if ttl_s is None else {_TTL: f"{max(1000, round(ttl_s * 1000))}ms"}


def _deleted(raw_headers: bytes) -> bool:
    return bool(raw_headers) and (
        _header(raw_headers, _OPERATION) in {"DEL", "PURGE"} or _header(raw_headers, _MARKER) is not None
    )


def _header(raw_headers: bytes, name: str) -> str | None:
    prefix = f"{name}:".encode()
    for line in raw_headers.split(b"\r\n"):
        if line.startswith(prefix):
            return line[len(prefix) :].strip().decode("utf-8", "replace")
    return None

"""KV leases that say which instance may try to lead a run. A hint only.

Correctness rests on the journal's compare-and-set and on epochs: two holders of a lease cost time, nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from yaoki.errors import ConflictError
from yaoki.subjects import token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.messaging.ports import Entry, KeyValue

BUCKET = "leases"


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Value of `run.<kind>.<run id>`.

    Attributes:
        holder: Instance and process, `<instance>#<boot>`.
        released: Given up on purpose: anybody may take it at once.
    """

    holder: str
    released: bool = False


_decode = msgspec.json.Decoder(LeaseRecord).decode


class HeldLease:
    """A lease that this process holds."""

    def __init__(self, kv: KeyValue, key: str, holder: str, *, revision: int, ttl_s: float, orderly: bool) -> None:
        self._kv = kv
        self._key = key
        self._holder = holder
        self._revision = revision
        self.ttl_s = ttl_s
        self.orderly = orderly

    async def renew(self) -> None:
        """Hold it for another `ttl_s`; again when it lapsed. Raises ConflictError when another process has it."""
        try:
            self._revision = await self._kv.update(self._key, self._value(), revision=self._revision, ttl_s=self.ttl_s)
        except ConflictError:
            self._revision = await self._kv.create(self._key, self._value(), ttl_s=self.ttl_s)

    async def release(self) -> None:
        """Hand it over: another instance may take it at once."""
        await self._kv.update(self._key, self._value(released=True), revision=self._revision, ttl_s=self.ttl_s)

    async def drop(self) -> None:
        """Remove it: the run is over."""
        await self._kv.delete(self._key, revision=self._revision)

    def _value(self, *, released: bool = False) -> bytes:
        return msgspec.json.encode(LeaseRecord(holder=self._holder, released=released))


class RunLeases:
    """Takes leases.

    Args:
        kv: A bucket whose keys may have a TTL.
        ttl_s: How long a lease outlives its holder, seconds; it is renewed three times as often.
    """

    def __init__(self, kv: KeyValue, *, ttl_s: float = 3.0) -> None:
        self._kv = kv
        self.ttl_s = ttl_s

    async def take(self, run_kind: str, run_id: str, holder: str) -> HeldLease | None:
        """The lease, or None when another process holds it."""
        key = _key(run_kind, run_id)
        orderly = False
        value = msgspec.json.encode(LeaseRecord(holder=holder))
        try:
            entry = await self._kv.get(key)
            if entry is None:
                revision = await self._kv.create(key, value, ttl_s=self.ttl_s)
            else:
                record = _read(entry)
                if not record.released and record.holder != holder:
                    return None
                orderly = record.released
                revision = await self._kv.update(key, value, revision=entry.revision, ttl_s=self.ttl_s)
        except ConflictError:
            return None
        return HeldLease(self._kv, key, holder, revision=revision, ttl_s=self.ttl_s, orderly=orderly)

    async def vacant(self, run_kind: str, run_id: str) -> bool:
        """Whether nobody holds the lease."""
        entry = await self._kv.get(_key(run_kind, run_id))
        return entry is None or _read(entry).released

    async def handovers(self, run_kind: str) -> AsyncIterator[str]:
        """Ids of runs whose leader hands them over, as it happens, for ever."""
        prefix = f"run.{token(run_kind, 'run kind')}."
        async for entry in self._kv.watch(prefix):
            if entry.value is not None and _read(entry).released:
                yield entry.key.removeprefix(prefix)


def _read(entry: Entry) -> LeaseRecord:
    """What cannot be read is a lease that nobody holds: a hint must not keep a run from being driven."""
    try:
        return _decode(entry.value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return LeaseRecord(holder="", released=True)


def _key(run_kind: str, run_id: str) -> str:
    return f"run.{token(run_kind, 'run kind')}.{token(run_id, 'run id')}"

"""Remembers which failures are over, so that a failure that is delivered late starts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import ConflictError

if TYPE_CHECKING:
    from yaoki.events.probe import FailureType
    from yaoki.messaging.ports import KeyValue

_PREFIX = "cleared"
_ATTEMPTS = 10


class Clearance(msgspec.Struct, frozen=True, kw_only=True):
    """The newest clear of one failure type of one target.

    Attributes:
        sequence: Its place in the event stream: failures below it are over.
    """

    incident_id: str
    sequence: int


class ClearanceStore:
    """Clearances in the KV bucket `runs`, beside the claims of the run executor."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def note(self, target: str, failure_type: FailureType, clearance: Clearance) -> None:
        """Remember a clear unless a newer one is known."""
        key = _key(target, failure_type)
        for _ in range(_ATTEMPTS):
            entry = await self._bucket.get(key)
            known = _decoded(entry.value if entry else None)
            if known is not None and known.sequence >= clearance.sequence:
                return
            try:
                if entry is None:
                    await self._bucket.create(key, msgspec.json.encode(clearance))
                else:
                    await self._bucket.update(key, msgspec.json.encode(clearance), revision=entry.revision)
            except ConflictError:
                continue
            return
        raise ConflictError(f"{key!r} was changed by others {_ATTEMPTS} times in a row")

    async def newest(self, target: str, failure_type: FailureType) -> Clearance | None:
        """The newest clear, if there ever was one."""
        entry = await self._bucket.get(_key(target, failure_type))
        return _decoded(entry.value if entry else None)

    async def incidents(self) -> frozenset[str]:
        """Of each target and failure type the incident that was cleared last."""
        found = [_decoded(entry.value) for entry in await self._bucket.entries(f"{_PREFIX}.")]
        return frozenset(known.incident_id for known in found if known is not None)

    async def is_cleared(self, target: str, incident_id: str) -> bool:
        """Whether the incident is over."""
        for key in await self._bucket.keys(f"{_PREFIX}.{target}."):
            entry = await self._bucket.get(key)
            known = _decoded(entry.value if entry else None)
            if known is not None and known.incident_id == incident_id:
                return True
        return False


def _key(target: str, failure_type: FailureType) -> str:
    return f"{_PREFIX}.{target}.{failure_type.value}"


def _decoded(value: bytes | None) -> Clearance | None:
    return None if value is None else msgspec.json.decode(value, type=Clearance)

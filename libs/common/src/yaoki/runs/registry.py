"""Which run holds which resource: at most one unfinished run each, in the KV bucket `runs`.

A claim carries the whole `RunStarted`. Whoever finds a claim without a journal appends that first entry, so that a
crash between claiming and starting loses no run and frees no resource. A claim is given back after `RunFinished`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from yaoki.errors import FatalError
from yaoki.events.runs import RunStarted
from yaoki.subjects import token

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from yaoki.messaging.ports import Entry, KeyValue

BUCKET = "runs"

_log = structlog.get_logger("yaoki.runs")

_decode = msgspec.json.Decoder(RunStarted).decode


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A resource held by a run.

    Attributes:
        started: The first entry of the run's journal, whether it is written yet or not.
        revision: Of the key: what a release is checked against.
    """

    started: RunStarted
    revision: int

    @property
    def run_id(self) -> str:
        """The run that holds the resource."""
        return self.started.run_id


class RunRegistry:
    """Claims of resources by compare-and-set."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv

    async def get(self, run_kind: str, resource: str) -> Claim | None:
        """The claim on a resource; None when it is free."""
        entry = await self._kv.get(_key(run_kind, resource))
        return None if entry is None else _claim(entry)

    async def create(self, started: RunStarted) -> Claim:
        """Claim a free resource. Raises ConflictError when it is held."""
        key = _key(started.run_kind, started.resource)
        revision = await self._kv.create(key, msgspec.json.encode(started))
        return Claim(started=started, revision=revision)

    async def replace(self, claim: Claim, started: RunStarted) -> Claim:
        """Take over the claim of a finished run. Raises ConflictError when somebody else did."""
        key = _key(started.run_kind, started.resource)
        revision = await self._kv.update(key, msgspec.json.encode(started), revision=claim.revision)
        return Claim(started=started, revision=revision)

    async def release(self, claim: Claim) -> None:
        """Free the resource. Raises ConflictError when another run holds it by now."""
        await self._kv.delete(_key(claim.started.run_kind, claim.started.resource), revision=claim.revision)

    async def claims(self, run_kind: str) -> list[Claim]:
        """All claims of runs of one kind, which is all unfinished runs and perhaps some just finished."""
        return list(_readable(await self._kv.entries(f"resource.{run_kind}.")))


def _key(run_kind: str, resource: str) -> str:
    return f"resource.{token(run_kind, 'run kind')}.{token(resource, 'resource')}"


def _readable(entries: Iterable[Entry]) -> Iterator[Claim]:
    """One key that somebody else wrote must not keep the other runs from being driven."""
    for entry in entries:
        try:
            yield _claim(entry)
        except FatalError as error:
            _log.error("claim cannot be read", error=error.message)


def _claim(entry: Entry) -> Claim:
    try:
        return Claim(started=_decode(entry.value or b""), revision=entry.revision)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FatalError(
            f"key {entry.key!r} of bucket {BUCKET!r} holds no RunStarted ({type(error).__name__}); "
            "only the run executor may write there; delete the key when its run is over"
        ) from error

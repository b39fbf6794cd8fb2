"""Who works on which target: one process at a time, and what it left is known when it dies."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import datetime  # noqa: TC003 - msgspec looks it up when it decodes an attempt
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.errors import ConflictError, TransientError
from yaoki.tasks import end_tasks
from yaoki.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.messaging.ports import KeyValue
    from yaoki.runs.leases import HeldLease, RunLeases

_log = get_logger(__name__)
_KIND: Final = "backup"
_PREFIX: Final = "attempt."


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Value of `catalog/attempt.<target>`: a backup that was begun and not ended."""

    backup_id: str
    target: str
    kind: str
    repository: str
    instance: str
    schedule: str = ""
    order_id: str = ""
    started_at: datetime


class Attempts:
    """Leases over targets, with a record that outlives them.

    Args:
        catalog: The bucket `catalog`.
        leases: With the time that a dead process keeps others waiting.
        holder: This process, unlike any before it.
    """

    def __init__(self, catalog: KeyValue, leases: RunLeases, holder: str) -> None:
        self._catalog = catalog
        self._leases = leases
        self._holder = holder

    async def busy(self, target: str) -> bool:
        """Whether a live process works on the target."""
        return not await self._leases.vacant(_KIND, target)

    @asynccontextmanager
    async def on(self, target: str) -> AsyncIterator[bool]:
        """Hold the target; yields False when another process does."""
        held = await self._leases.take(_KIND, f"{target}", self._holder)
        if held is None:
            yield False
            return
        renewing = asyncio.create_task(_renew(held), name=f"lease of {target}")
        try:
            yield True
        finally:
            await end_tasks([renewing])
            with suppress(ConflictError, TransientError):  # it lapses by itself
                await held.drop()

    async def begin(self, attempt: Attempt) -> None:
        """Write down that it begins; the target is held."""
        await self._catalog.put(_PREFIX + attempt.target, msgspec.json.encode(attempt))

    async def end(self, target: str) -> None:
        """It has ended, and everything about it was said."""
        await self._catalog.delete(_PREFIX + target)

    async def unfinished(self, target: str = "") -> list[Attempt]:
        """What was begun and not ended, of one target or of all."""
        found = []
        for entry in await self._catalog.entries(_PREFIX + target):
            try:
                found.append(msgspec.json.decode(entry.value or b"", type=Attempt))
            except msgspec.MsgspecError:
                _log.warning("no attempt that can be read; delete the key", key=entry.key)
        return found


async def _renew(held: HeldLease) -> None:
    while True:
        await asyncio.sleep(held.ttl_s / 3)
        with suppress(TransientError):  # a lost lease costs double work, never a backup
            await held.renew()

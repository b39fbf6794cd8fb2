"""Failures that wait for the end of another run on the same servers, in the KV bucket `runs`.

The event itself is done with once its failure lies here: a run may be paused for days, and no redelivery lasts that
long. A failure leaves only when its run stands in its journal, when people were called, or when it is over.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING

import msgspec
from yaoki.events.probe import FailureDetected  # noqa: TC002 - as above
from yaoki.telemetry import get_logger

if TYPE_CHECKING:
    from yaoki.messaging.ports import KeyValue

_PREFIX = "waiting."
_log = get_logger(__name__)


class WaitingFailure(msgspec.Struct, frozen=True, kw_only=True):
    """One failure whose run cannot begin yet.

    Attributes:
        run_id: The run that it will start.
        sequence: Place of its event in the stream.
        since: When it began to wait, UTC.
        behind: The run that works on the same servers; empty when a guard keeps it.
        reason: Why a guard keeps it, one sentence.
        until: When a guard expects to let it go, UTC.
    """

    run_id: str
    failure: FailureDetected
    sequence: int
    since: datetime
    behind: str = ""
    reason: str = ""
    until: datetime | None = None


class WaitingFailures:
    """The queue; all instances share it, and each of them may start what has become possible."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def add(self, waiting: WaitingFailure) -> None:
        """Keep a failure; keeping it again changes nothing but what it waits for."""
        await self._bucket.put(_PREFIX + waiting.run_id, msgspec.json.encode(waiting))

    async def remove(self, waiting: WaitingFailure) -> None:
        """It is dealt with; doing it twice is no error."""
        await self._bucket.delete(_PREFIX + waiting.run_id)

    async def all(self) -> list[WaitingFailure]:
        """In the order in which they were detected."""
        found = []
        for entry in await self._bucket.entries(_PREFIX):
            try:
                found.append(msgspec.json.decode(entry.value or b"", type=WaitingFailure))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                # Somebody else wrote it; it must not keep the others from being repaired.
                _log.error("waiting failure is unreadable, passed over", key=entry.key, error=type(error).__name__)
        return sorted(found, key=lambda waiting: waiting.sequence)

"""Planned maintenance holds disruptive actions back: people are working there.

What the record in KV `slo` cannot tell counts as an open window, because an action at the wrong moment costs more than
one that comes late. A person is never held back: what people order runs, and `resume` lets a held action begin.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
from yaoki import maintenance
from yaoki.errors import TransientError
from yaoki.maintenance import MaintenanceWindow, active_window, decode_windows
from yaoki.runs.decisions import Hold
from yaoki.telemetry import get_logger

from recovery.intake import POLICY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from yaoki.clock import Clock
    from yaoki.messaging.ports import KeyValue
    from yaoki.runs import RunState
    from yaoki.subjects import Subjects

_log = get_logger(__name__)
_RETRY_S = 0.5
_UNREADABLE = "maintenance-record-unreadable"


def hold_of(
    windows: Sequence[MaintenanceWindow] | None, *, target: str, started_by: str, at: datetime, how_to_go_on: str
) -> Hold | None:
    """What holds the disruptive actions of a run back. Pure.

    Args:
        windows: Of the record; None when it cannot be read.
        target: The failed target.
        started_by: `policy`, or the person who ordered the run.
        at: Now.
        how_to_go_on: A line to copy.
    """
    if started_by != POLICY:
        return None
    if windows is None:
        reason = (
            f"the record of planned maintenance (KV {maintenance.BUCKET}, key {maintenance.KEY}) cannot be read, so a "
            f"window may be open; repair the record, or go on at once: {how_to_go_on}"
        )
        return Hold(name=_UNREADABLE, reason=reason)
    window = active_window(windows, target, at)
    if window is None:
        return None
    reason = (
        f"planned maintenance {window.window_id} by {window.announced_by} is open until "
        f"{window.end.isoformat(timespec='minutes')}; to go on at once: {how_to_go_on}"
    )
    return Hold(name=window.window_id, reason=reason, until=window.end)


class MaintenanceGate:
    """A `yaoki.runs.Gate` over the windows as they were last read.

    Windows are announced long before they begin, so that a record that is seconds old is good enough.
    """

    def __init__(self, slo: KeyValue, subjects: Subjects, clock: Clock) -> None:
        self._slo = slo
        self._subjects = subjects
        self._clock = clock
        self._windows: tuple[MaintenanceWindow, ...] | None = None

    def __call__(self, run: RunState, now: datetime, /) -> Hold | None:
        """See `Gate`."""
        go_on = json.dumps({"run_id": run.run_id, "intervention": "resume", "by": "<you>"})
        return hold_of(
            self._windows,
            target=str(run.facts.get("target", "")),
            started_by=run.started_by,
            at=now,
            how_to_go_on=f"nats req {self._subjects.api('recovery', 'steer')} '{go_on}'",
        )

    def is_open(self, target: str, now: datetime) -> bool:
        """Whether people may be working on the target; also when nobody can tell."""
        return self._windows is None or active_window(self._windows, target, now) is not None

    async def begin(self) -> None:
        """Read the record, however long that takes: before that every run would be held back for no reason."""
        while True:
            try:
                entry = await self._slo.get(maintenance.KEY)
            except TransientError as error:
                _log.warning("planned maintenance cannot be read, trying again", error=error.message)
                await self._clock.sleep(_RETRY_S)
                continue
            self._take(entry.value if entry else None)
            return

    async def follow(self) -> None:
        """Take every change in, for ever. While NATS is away the last known windows stay in force."""
        while True:
            try:
                async for entry in self._slo.watch(maintenance.KEY):
                    if entry.key == maintenance.KEY:
                        self._take(entry.value)
            except TransientError as error:
                _log.warning("planned maintenance is not watched, trying again", error=error.message)
            await self._clock.sleep(_RETRY_S)

    def _take(self, value: bytes | None) -> None:
        try:
            self._windows = decode_windows(value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._windows = None
            _log.error("record of planned maintenance is unreadable", error=type(error).__name__)

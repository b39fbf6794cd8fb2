"""Planned maintenance as every service reads it: one record in the KV bucket `slo`, key `maintenance`.

The health probe's slo role is the only writer and has checked every window against the rules. Whoever acts on
targets reads the record (or watches it) and asks `active_window`:

    entry = await messaging.kv(maintenance.BUCKET).get(maintenance.KEY)
    window = active_window(decode_windows(entry.value if entry else None), "orders-db", now)
    if window is not None:
        ...  # people work there: wait until window.end, whatever the probes say
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

BUCKET = "slo"
KEY = "maintenance"


class MaintenanceWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One announced window. Nothing of it changes after the announcement, except that it may be cancelled.

    Attributes:
        window_id: Chosen at the announcement.
        targets: Names of targets; empty means all of them.
        start: First moment, a whole minute, UTC.
        end: First moment after it, a whole minute, UTC.
        announced_at: When it was accepted, UTC; the notice is counted from here.
        announced_by: Who announced it.
        reason: What is done.
        cancelled_at: Set when it was cancelled, always before `start`.
        cancelled_by: Who cancelled it.
        told: Events of this window that are known to be stored, by event name.
    """

    window_id: str
    targets: tuple[str, ...] = ()
    start: datetime
    end: datetime
    announced_at: datetime
    announced_by: str
    reason: str = ""
    cancelled_at: datetime | None = None
    cancelled_by: str = ""
    told: tuple[str, ...] = ()

    @property
    def minutes(self) -> int:
        """Length in whole minutes."""
        return int((self.end - self.start).total_seconds() // 60)


class WindowBook(msgspec.Struct, frozen=True, kw_only=True):
    """The record: all windows of the last year and to come, by start."""

    windows: tuple[MaintenanceWindow, ...] = ()


def decode_windows(value: bytes | None) -> tuple[MaintenanceWindow, ...]:
    """The windows of the record's value; none when there is no record.

    Raises:
        msgspec.DecodeError: The value is no such record. Treat that as "a window may be open".
    """
    return () if value is None else msgspec.json.decode(value, type=WindowBook).windows


def concerns(window: MaintenanceWindow, target: str) -> bool:
    """Whether the window is about `target` and was not cancelled."""
    return window.cancelled_at is None and (not window.targets or target in window.targets)


def active_window(windows: Iterable[MaintenanceWindow], target: str, at: datetime) -> MaintenanceWindow | None:
    """The window of `target` that is open at `at`, if any; of several the one that ends last."""
    open_now = [window for window in windows if concerns(window, target) and window.start <= at < window.end]
    return max(open_now, key=lambda window: window.end, default=None)

"""Which backups are kept, and why.

**The newest good backup and the newest proven one are never deleted, whatever the rules say**, and neither is anything
pinned, locked, or dated in the future: a clock that was wrong must not make old backups look old. A backup counts as
good unless a verification found it broken. What is kept is decided by calendar generations, not by ages alone: a
pause in taking backups deletes nothing. Times are those that backups show, never those in names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from yaoki.config.backup import Keep

    from backup.repository import Entry

_GENERATIONS: Final[dict[str, Callable[[datetime], object]]] = {
    # A zone's clock shows an hour twice when it is set back; as generations they are two.
    "hourly": lambda at: (at.year, at.month, at.day, at.hour, at.utcoffset()),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one backup.

    Attributes:
        reasons: Each is enough to keep it; empty for one that goes.
    """

    entry: Entry
    reasons: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)


def plan(
    entries: Sequence[Entry], keep: Keep, *, now: datetime, time_zone: str, pinned: Iterable[str] = ()
) -> tuple[Verdict, ...]:
    """Decide over all backups of one target.

    Args:
        entries: Every backup there is, in any order.
        keep: The rules.
        now: The present, aware.
        time_zone: Of calendar days, weeks and months.
        pinned: Identities of backups that are kept whatever the rules say.

    Returns:
        One verdict for each entry, oldest first.
    """
    ordered = sorted(entries, key=lambda entry: (entry.manifest.source.consistent_at, entry.manifest.backup_id))
    good = [entry for entry in ordered if not entry.broken and not _is_future(entry, now)]
    reasons: dict[str, list[str]] = {entry.manifest.backup_id: [] for entry in ordered}
    _keep_by_rules(good, keep, now, ZoneInfo(time_zone), reasons)
    _keep_regardless(ordered, good, now, frozenset(pinned), reasons)
    return tuple(Verdict(entry=entry, reasons=tuple(reasons[entry.manifest.backup_id])) for entry in ordered)


def _keep_by_rules(good: list[Entry], keep: Keep, now: datetime, zone: ZoneInfo, reasons: dict[str, list[str]]) -> None:
    newest_first = good[::-1]
    for entry in newest_first[: keep.last]:
        reasons[entry.manifest.backup_id].append(f"one of the last {keep.last}")
    for entry in newest_first:
        if (now - entry.manifest.source.consistent_at).total_seconds() < keep.within:
            reasons[entry.manifest.backup_id].append("young enough")
    for name, generation in _GENERATIONS.items():
        limit = getattr(keep, name)
        seen: set[object] = set()
        for entry in newest_first:
            if len(seen) >= limit:
                break
            period = generation(entry.manifest.source.consistent_at.astimezone(zone))
            if period not in seen:
                seen.add(period)
                reasons[entry.manifest.backup_id].append(f"{name} {len(seen)} of {limit}")


def _keep_regardless(
    ordered: list[Entry], good: list[Entry], now: datetime, pinned: frozenset[str], reasons: dict[str, list[str]]
) -> None:
    if good:
        reasons[good[-1].manifest.backup_id].append("the newest good one")
    proven = [entry for entry in ordered if entry.verified_at is not None and not _is_future(entry, now)]
    if proven:
        reasons[proven[-1].manifest.backup_id].append("the newest proven one")
    if not good and ordered:
        # All are broken or from the future: which of them may still help is for a person to say.
        for entry in ordered:
            reasons[entry.manifest.backup_id].append("there is no good one")
    for entry in ordered:
        mine = reasons[entry.manifest.backup_id]
        if entry.manifest.backup_id in pinned:
            mine.append("pinned")
        if entry.manifest.locked_until is not None and entry.manifest.locked_until > now:
            mine.append(f"locked until {entry.manifest.locked_until.isoformat()}")
        if _is_future(entry, now):
            mine.append("dated in the future")


def _is_future(entry: Entry, now: datetime) -> bool:
    return entry.manifest.source.consistent_at > now

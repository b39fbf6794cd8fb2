"""Whether a target's backups are fresh enough, judged by what the repository shows and by nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backup.repository import Entry

_CLOCKS_DIFFER: Final = timedelta(minutes=5)


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How one target stands.

    Attributes:
        reason: Why it is not healthy; empty when it is.
        last_backup: Identity of the newest backup that is not known to be broken.
        last_backup_at: The moment that it shows, UTC.
        age_s: Since then, seconds.
        count: Backups that are not known to be broken.
        latest_bytes: Stored bytes of the newest.
        verified_at: When the newest of the proven ones was proven, UTC.
    """

    healthy: bool
    reason: str = ""
    last_backup: str | None = None
    last_backup_at: datetime | None = None
    age_s: float | None = None
    count: int = 0
    latest_bytes: int | None = None
    verified_at: datetime | None = None


def unknown(reason: str) -> Freshness:
    """What cannot be read is unknown, and unknown is not healthy."""
    return Freshness(healthy=False, reason=f"its backups cannot be read: {reason}")


def judge(entries: Sequence[Entry], *, now: datetime, limit_s: float) -> Freshness:
    """Judge the backups of one target.

    A backup that is dated in the future says nothing about today: a clock was wrong, and it does not count.

    Args:
        entries: All of the target, in any order.
        now: Aware.
        limit_s: Greatest age of the newest that is healthy, seconds.
    """
    known = [
        entry for entry in entries if not entry.broken and entry.manifest.source.consistent_at <= now + _CLOCKS_DIFFER
    ]
    if not known:
        others = f"; {len(entries)} are broken or dated in the future" if entries else ""
        return Freshness(healthy=False, reason=f"there is no backup that can be relied on{others}")
    newest = max(known, key=lambda entry: entry.manifest.source.consistent_at).manifest
    age_s = max(0.0, (now - newest.source.consistent_at).total_seconds())
    late = age_s > limit_s
    return Freshness(
        healthy=not late,
        reason=f"the newest backup is {age_s:.0f} s old, {limit_s:.0f} s are allowed" if late else "",
        last_backup=newest.backup_id,
        last_backup_at=newest.source.consistent_at,
        age_s=round(age_s, 3),
        count=len(known),
        latest_bytes=newest.stored_size,
        verified_at=max((at for entry in known if (at := entry.verified_at) is not None), default=None),
    )

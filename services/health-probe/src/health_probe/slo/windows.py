"""The rules of planned maintenance: pure.

Invariant: whatever windows there are, for every target the minutes that count as maintenance are at most the limit
in each calendar month, all lie inside the allowed hours, and each was announced the full notice ahead. What does not
keep the rules is downtime, also when somebody wrote it into the record by hand.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec
from yaoki.config.forms import format_duration
from yaoki.maintenance import MaintenanceWindow, concerns

from health_probe.slo.moments import MINUTE_S, Period, minute_of, month_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from yaoki.config import MaintenanceSection

_MIDNIGHT: Final = "24:00"


class Violation(msgspec.Struct, frozen=True):
    """A rule that a window breaks: its name, what it demands, and what was found."""

    rule: str
    limit: str
    found: str

    def sentence(self) -> str:
        """For the refusal."""
        return f"rule {self.rule}: {self.limit}; found {self.found}"


def rules_in_words(rules: MaintenanceSection) -> tuple[str, ...]:
    """What a window has to keep, one sentence each."""
    return (
        f"notice: announced at least {format_duration(rules.notice)} before it begins",
        f"hours: inside {rules.earliest}-{rules.latest} {rules.time_zone}, on one calendar day",
        f"monthly: at most {format_duration(rules.monthly_limit)} for each target in a month ({rules.time_zone})",
        "minutes: begins and ends on a whole minute, and ends after it begins",
        "overlap: two windows of one target do not overlap",
    )


def violations(
    window: MaintenanceWindow, others: Sequence[MaintenanceWindow], targets: Iterable[str], rules: MaintenanceSection
) -> list[Violation]:
    """Every rule that `window` breaks, by its own announcement time and the windows that stand already.

    Args:
        window: Its `announced_at` is now.
        others: All other windows; cancelled ones do not count.
        targets: Names of all configured targets: what a window without names is about.
        rules: The contract's.
    """
    broken = list(_own(window, rules))
    if any(violation.rule == "minutes" for violation in broken):
        return broken
    overlapping = [other for other in others if _share(window, other) and _period(window).within(_period(other))]
    if overlapping:
        other = overlapping[0]
        found = f"window {other.window_id} from {_local(other.start, rules)} to {_local(other.end, rules)}"
        broken.append(Violation("overlap", "two windows of one target do not overlap", found))
    target, used = _most_used(window, others, targets, rules)
    limit = int(rules.monthly_limit // MINUTE_S)
    if used + window.minutes > limit:
        found = f"{used} min announced already for {target} in {_month(window, rules)}, and {window.minutes} more"
        broken.append(Violation("monthly", f"at most {limit} min in a calendar month ({rules.time_zone})", found))
    return broken


def minutes_left(
    window: MaintenanceWindow, others: Sequence[MaintenanceWindow], targets: Iterable[str], rules: MaintenanceSection
) -> int:
    """Of the month's allowance after `window`, for the target with least left."""
    _, used = _most_used(window, others, targets, rules)
    taken = 0 if window.cancelled_at is not None else window.minutes
    return int(rules.monthly_limit // MINUTE_S) - used - taken


def honoured(windows: Sequence[MaintenanceWindow], target: str, rules: MaintenanceSection) -> list[MaintenanceWindow]:
    """The windows of `target` whose minutes count as maintenance, by start."""
    accepted: list[MaintenanceWindow] = []
    concerned = [window for window in windows if concerns(window, target)]
    # In the order of announcement, so that what was accepted first cannot be pushed out by what came later.
    for window in sorted(concerned, key=lambda window: (window.announced_at, window.window_id)):
        if not violations(window, accepted, [target], rules):
            accepted.append(window)
    return sorted(accepted, key=lambda window: window.start)


def planned(windows: Iterable[MaintenanceWindow], period: Period) -> list[int]:
    """The minutes of the period that lie in one of the windows."""
    inside = [_period(window).within(period) for window in windows]
    return sorted({minute for run in inside for minute in range(run.first, run.end)})


def _own(window: MaintenanceWindow, rules: MaintenanceSection) -> Iterable[Violation]:
    if window.start.timestamp() % MINUTE_S or window.end.timestamp() % MINUTE_S:
        yield Violation(
            "minutes", "begins and ends on a whole minute", f"{window.start.isoformat()} to {window.end.isoformat()}"
        )
    elif window.minutes <= 0:
        yield Violation(
            "minutes", "ends after it begins", f"start {_local(window.start, rules)}, end {_local(window.end, rules)}"
        )
    notice = (window.start - window.announced_at).total_seconds()
    if notice < rules.notice:
        yield Violation(
            "notice", f"announced at least {format_duration(rules.notice)} before it begins", _ahead(notice)
        )
    zone = ZoneInfo(rules.time_zone)
    start, end = window.start.astimezone(zone), window.end.astimezone(zone)
    # Midnight at the end belongs to the day that it ends.
    last = f"{end:%H:%M}" if end.date() == start.date() else _MIDNIGHT
    one_day = (end - timedelta(minutes=1)).date() == start.date()
    if not one_day or f"{start:%H:%M}" < rules.earliest or last > rules.latest:
        limit = f"inside {rules.earliest}-{rules.latest} {rules.time_zone}, on one calendar day"
        yield Violation("hours", limit, f"{_local(window.start, rules)} to {_local(window.end, rules)}")


def _most_used(
    window: MaintenanceWindow, others: Sequence[MaintenanceWindow], targets: Iterable[str], rules: MaintenanceSection
) -> tuple[str, int]:
    """The target of `window` with most minutes announced in its month, and how many."""
    month = _month(window, rules)
    same = [other for other in others if other.window_id != window.window_id and _month(other, rules) == month]
    used = {
        target: sum(other.minutes for other in same if concerns(other, target))
        for target in (window.targets or tuple(targets))
    }
    return max(used.items(), key=lambda item: item[1], default=("", 0))


def _share(window: MaintenanceWindow, other: MaintenanceWindow) -> bool:
    if other.cancelled_at is not None or other.window_id == window.window_id:
        return False
    return not window.targets or not other.targets or bool(set(window.targets) & set(other.targets))


def _period(window: MaintenanceWindow) -> Period:
    return Period(minute_of(window.start), minute_of(window.end))


def _month(window: MaintenanceWindow, rules: MaintenanceSection) -> str:
    return month_of(minute_of(window.start), ZoneInfo(rules.time_zone))


def _local(at: datetime, rules: MaintenanceSection) -> str:
    return at.astimezone(ZoneInfo(rules.time_zone)).isoformat(timespec="minutes")


def _ahead(seconds: float) -> str:
    if seconds < 0:
        return f"a window that began {format_duration(round(-seconds))} ago"
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours} h {rest // MINUTE_S} min ahead"

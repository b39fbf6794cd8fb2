"""Minutes since 1970 UTC, and the calendar of a contract over them: pure, and right on days of 23 or 25 hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

MINUTE_S: Final = 60
DAY_MINUTES: Final = 1440
_DECEMBER: Final = 12


class Period(msgspec.Struct, frozen=True):
    """Minutes from `first` up to, not including, `end`."""

    first: int
    end: int

    def __contains__(self, minute: int) -> bool:
        return self.first <= minute < self.end

    def __len__(self) -> int:
        return max(0, self.end - self.first)

    def within(self, other: Period) -> Period:
        """What lies in both; of length 0 when nothing does."""
        first = max(self.first, other.first)
        return Period(first, max(first, min(self.end, other.end)))


def minute_of(at: datetime) -> int:
    """The minute that `at` lies in."""
    return int(at.timestamp() // MINUTE_S)


def moment(minute: int) -> datetime:
    """The first moment of a minute, UTC."""
    return datetime.fromtimestamp(minute * MINUTE_S, UTC)


def day_of(day: date, zone: ZoneInfo) -> Period:
    """The minutes of a calendar day: 1440, or 60 more or less where clocks are changed."""
    return Period(_midnight(day, zone), _midnight(day + timedelta(days=1), zone))


def month_of(minute: int, zone: ZoneInfo) -> str:
    """The calendar month of a minute, as `2026-11`."""
    return f"{moment(minute).astimezone(zone):%Y-%m}"


def period_of_month(month: str, zone: ZoneInfo) -> Period:
    """The minutes of the calendar month `2026-11`."""
    first = date.fromisoformat(f"{month}-01")
    return Period(_midnight(first, zone), _midnight(_next_month(first), zone))


def days_of_month(month: str, zone: ZoneInfo) -> list[tuple[date, Period]]:
    """Every day of the month with its minutes, in order and without a gap."""
    day = first = date.fromisoformat(f"{month}-01")
    days = []
    while day < _next_month(first):
        days.append((day, day_of(day, zone)))
        day += timedelta(days=1)
    return days


def previous_month(month: str) -> str:
    """The month before."""
    return f"{date.fromisoformat(f'{month}-01') - timedelta(days=1):%Y-%m}"


def _next_month(first: date) -> date:
    return date(first.year + 1, 1, 1) if first.month == _DECEMBER else date(first.year, first.month + 1, 1)


def _midnight(day: date, zone: ZoneInfo) -> int:
    # Where midnight is skipped, the offset from before the change gives the moment of the change itself.
    return minute_of(datetime(day.year, day.month, day.day, tzinfo=zone))

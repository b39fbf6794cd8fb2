"""A schedule is due at its times in its time zone, and a missed time is made up once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from backup.schedule import due
from hypothesis import given
from hypothesis import strategies as st
from yaoki.config.backup import BackupSchedule
from yaoki.errors import RejectedError

START = datetime(2026, 1, 1, tzinfo=UTC)


def schedule(cron: str, zone: str | None = None) -> BackupSchedule:
    return BackupSchedule(targets=("orders",), cron=cron, time_zone=zone)


def next_due(cron: str, last: datetime, now: datetime, zone: str = "UTC") -> datetime | None:
    found = due(schedule(cron), last=last, now=now, zone=zone)
    return None if found is None else found.at


@pytest.mark.parametrize(
    ("cron", "at"),
    [
        ("0 2 * * *", datetime(2026, 11, 20, 17, 0, tzinfo=UTC)),
        ("0 3 * * SUN", datetime(2026, 11, 14, 18, 0, tzinfo=UTC)),
        ("0 4 1 * *", datetime(2026, 10, 31, 19, 0, tzinfo=UTC)),
        ("0 * * * *", datetime(2026, 11, 21, 12, 0, tzinfo=UTC)),
    ],
)
def test_times_are_those_of_the_zone(cron: str, at: datetime) -> None:
    """Daily 02:00, weekly on Sunday, monthly on the first, hourly; in Tokyo."""
    now = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)

    assert next_due(cron, now - timedelta(days=60), now, "Asia/Tokyo") == at
    assert next_due(cron, at, now, "Asia/Tokyo") is None
    assert next_due(cron, at - timedelta(seconds=1), at, "Asia/Tokyo") == at


def test_times_that_were_missed_are_made_up_once() -> None:
    """A service that was away for a week takes one backup, not seven."""
    last = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)

    assert next_due("0 2 * * *", last, last + timedelta(days=7, hours=1)) == last + timedelta(days=7)


@pytest.mark.parametrize("day", [datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)])
def test_a_day_on_which_the_clock_is_changed_has_one_backup(day: datetime) -> None:
    """02:30 does not exist in March and 01:30 twice in November; each is due once."""
    for cron in ("30 2 * * *", "30 1 * * *"):
        found = {
            at
            for hour in range(5, 29)
            if (at := next_due(cron, day + timedelta(hours=hour), day + timedelta(hours=hour + 1), "America/New_York"))
        }
        assert len(found) == 1


@given(minutes=st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_no_time_is_seen_twice_or_lost(minutes: list[int]) -> None:
    """However irregularly it is looked: what is due is the newest time, and each is later than the one before."""
    last = now = START
    for step in minutes:
        now += timedelta(minutes=step)
        at = next_due("0 */6 * * *", last, now)
        expected = now.replace(hour=now.hour // 6 * 6, minute=0)
        assert at == (expected if expected > last else None)
        last = at or last


def test_a_line_that_is_none_is_named() -> None:
    with pytest.raises(RejectedError, match="'61 2"):
        next_due("61 2 * * *", START, START + timedelta(days=1))


def test_a_schedule_of_its_own_zone_does_not_take_the_installations() -> None:
    now = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)

    found = due(schedule("0 2 * * *", "Europe/London"), last=now - timedelta(days=1), now=now, zone="Asia/Tokyo")

    assert found is not None
    assert found.at == datetime(2026, 11, 21, 2, 0, tzinfo=UTC)

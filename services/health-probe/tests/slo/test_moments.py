"""The calendar over minutes: no minute is lost or counted twice, in any zone, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from health_probe.slo.moments import (
    day_of,
    days_of_month,
    minute_of,
    moment,
    month_of,
    period_of_month,
    previous_month,
)
from hypothesis import given
from hypothesis import strategies as st

# Whole hours, half and quarter ones, both hemispheres, a change at midnight, one of half an hour, and a day that
# never was (Apia left out 30 December 2011).
ZONES = (
    "Asia/Tokyo",
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Pacific/Chatham",
)
zones = st.sampled_from(ZONES).map(ZoneInfo)
months = st.dates(date(1990, 1, 1), date(2040, 12, 31)).map(lambda day: f"{day:%Y-%m}")


@given(months, zones)
def test_the_days_of_a_month_are_the_month(month: str, zone: ZoneInfo) -> None:
    """Days follow one another without gap or overlap, from the month's first minute to its last."""
    period = period_of_month(month, zone)
    days = [own for _, own in days_of_month(month, zone)]

    assert days[0].first == period.first
    assert days[-1].end == period.end
    assert all(before.end == after.first for before, after in pairwise(days))


@given(st.integers(10_519_200, 36_000_000), zones)
def test_every_minute_lies_in_its_month_and_in_no_other(minute: int, zone: ZoneInfo) -> None:
    """The month of a minute holds it; the month before ends where it begins."""
    month = month_of(minute, zone)

    assert minute in period_of_month(month, zone)
    assert minute not in period_of_month(previous_month(month), zone)
    assert period_of_month(previous_month(month), zone).end == period_of_month(month, zone).first


@given(st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1), timezones=zones))  # noqa: DTZ001 - hypothesis adds the zone
def test_a_moment_lies_in_its_minute(at: datetime) -> None:
    """Minutes are counted in UTC, so that a repeated hour has minutes of its own."""
    minute = minute_of(at)

    assert moment(minute) <= at.astimezone(UTC) < moment(minute + 1)


@pytest.mark.parametrize(
    ("day", "zone", "minutes"),
    [
        (date(2026, 3, 29), "Europe/Berlin", 23 * 60),
        (date(2026, 10, 25), "Europe/Berlin", 25 * 60),
        (date(2026, 4, 5), "Australia/Lord_Howe", 24 * 60 + 30),
        (date(2026, 11, 21), "Asia/Tokyo", 24 * 60),
        (date(2011, 12, 30), "Pacific/Apia", 0),
    ],
)
def test_days_are_as_long_as_their_clocks_say(day: date, zone: str, minutes: int) -> None:
    """A day on which clocks are changed has 23, 25 or another number of hours."""
    assert len(day_of(day, ZoneInfo(zone))) == minutes


def test_a_month_in_tokyo_begins_on_the_day_before_in_utc() -> None:
    """The contract's month is not the ledger's."""
    assert moment(period_of_month("2026-11", ZoneInfo("Asia/Tokyo")).first) == datetime(2026, 10, 31, 15, tzinfo=UTC)

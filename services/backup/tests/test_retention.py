"""Retention keeps generations, never loses the last good or proven backup, and says why."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from backup.repository import Entry
from backup.retention import plan
from hypothesis import given, settings
from hypothesis import strategies as st
from yaoki.config.backup import Keep

from .backups import manifest, record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backup.retention import Verdict

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NOTHING_ELSE = Keep(last=1, hourly=0, daily=0, weekly=0, monthly=0)
ZONES = ("UTC", "Asia/Tokyo", "America/New_York", "Pacific/Apia")

few = st.sampled_from([0, 0, 0, 1, 4])
keeps = st.builds(
    Keep,
    last=st.integers(1, 3),
    hourly=few,
    daily=few,
    weekly=few,
    monthly=few,
    within=st.sampled_from([0.0, 0.0, 1e6]),
)
"""Mostly few rules: where many keep a backup, nobody sees that one of them is missing."""


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Backups over half a year, some proven, some found broken, some locked, some from the future."""
    ages = draw(st.lists(st.integers(-100_000, 15_000_000), max_size=30, unique=True))
    entries = []
    for number, age in enumerate(ages):
        at = NOW - timedelta(seconds=age)
        backup = manifest(at, salt=number)
        if days := draw(st.sampled_from([0, 0, 0, 0, -3, 3])):
            backup = msgspec.structs.replace(backup, locked_until=NOW + timedelta(days=days))
        found = draw(st.sampled_from(["never", "never", "proven", "broken", "inconclusive"]))
        records = {
            "never": (),
            "proven": (record(backup, at),),
            "broken": (record(backup, at), record(backup, at + timedelta(hours=1), passed=False)),
            "inconclusive": (record(backup, at, passed=False, conclusive=False),),
        }[found]
        entries.append(Entry(manifest=backup, records=records))
    return entries


def decide(
    entries: Sequence[Entry], keep: Keep, *, zone: str = "UTC", pinned: tuple[str, ...] = ()
) -> tuple[Verdict, ...]:
    return plan(entries, keep, now=NOW, time_zone=zone, pinned=pinned)


def kept(entries: Sequence[Entry], keep: Keep, zone: str = "UTC") -> list[datetime]:
    return [one.entry.manifest.source.consistent_at for one in decide(entries, keep, zone=zone) if one.kept]


def every(step: timedelta, count: int, until: datetime = NOW) -> list[Entry]:
    return [Entry(manifest=manifest(until - step * number, salt=number)) for number in range(count)]


@settings(max_examples=500)  # few histories depend on one rule alone
@given(entries=histories(), keep=keeps, zone=st.sampled_from(ZONES), seed=st.integers())
def test_what_is_never_deleted(entries: list[Entry], keep: Keep, zone: str, seed: int) -> None:
    """The invariant, for every history and every rule; the order in which backups are listed does not matter."""
    verdicts = decide(entries, keep, zone=zone)
    shuffled = entries[:]
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - an order, not a secret

    assert decide(shuffled, keep, zone=zone) == verdicts
    assert [one.entry for one in verdicts] == sorted(entries, key=lambda one: one.manifest.source.consistent_at)
    past = [one for one in verdicts if one.entry.manifest.source.consistent_at <= NOW]
    good = [one for one in past if not one.entry.broken]
    proven = [one for one in past if one.entry.verified_at is not None]
    assert all(one.kept for one in (*good[-keep.last :], *good[-1:], *proven[-1:]))
    assert all(one.kept for one in verdicts if one.entry.manifest.source.consistent_at > NOW)
    assert all(one.kept for one in verdicts if (one.entry.manifest.locked_until or NOW) > NOW)
    assert good or all(one.kept for one in verdicts)


@given(entries=histories(), keep=keeps)
def test_deleting_what_goes_changes_no_other_verdict(entries: list[Entry], keep: Keep) -> None:
    """Interrupted in the middle and planned again, it ends the same."""
    first = decide(entries, keep)
    stays = [one.entry for one in first if one.kept]
    going = [one.entry for one in first if not one.kept]

    for done in range(len(going) + 1):
        again = decide([*stays, *going[done:]], keep)
        assert [one.entry for one in again if one.kept] == [one.entry for one in first if one.kept]


@given(entries=histories(), keep=keeps, pick=st.integers(0, 40))
def test_a_pin_keeps_and_takes_nothing_away(entries: list[Entry], keep: Keep, pick: int) -> None:
    without = {one.entry.manifest.backup_id for one in decide(entries, keep) if one.kept}
    pinned = entries[pick].manifest.backup_id if pick < len(entries) else "20200101t000000z-00000000"

    found = {one.entry.manifest.backup_id for one in decide(entries, keep, pinned=(pinned,)) if one.kept}

    assert found == without | ({pinned} if pick < len(entries) else set())


def test_generations_are_calendar_periods_not_ages() -> None:
    """After a pause of months the same number of days is kept, each by its newest backup."""
    entries = every(timedelta(hours=6), 40, until=NOW - timedelta(days=100))

    found = kept(entries, msgspec.structs.replace(NOTHING_ELSE, daily=3))

    assert [f"{at:%d %H}" for at in found] == ["11 18", "12 18", "13 12"]


def test_days_are_those_of_the_time_zone() -> None:
    """16:00 and 14:00 UTC are two days in Tokyo and one in London."""
    entries = [Entry(manifest=manifest(datetime(2026, 11, 20, hour, tzinfo=UTC), salt=hour)) for hour in (14, 16)]
    keep = msgspec.structs.replace(NOTHING_ELSE, daily=2)

    assert len(kept(entries, keep, zone="Asia/Tokyo")) == 2
    assert len(kept(entries, keep, zone="Europe/London")) == 1


def test_the_default_rules_over_two_years() -> None:
    """Hourly 24, daily 30, weekly 12, monthly 12; the newest of a day, week or month may be kept by several."""
    entries = every(timedelta(hours=1), 24 * 730)

    found = kept(entries, Keep())

    # Of the days two lie within the hours; of the weeks five within the days; of the months two within the days.
    assert len(found) == 24 + (30 - 2) + (12 - 5) + (12 - 2)
    assert found[0] == datetime(2025, 12, 31, 23, 0, tzinfo=UTC)


def test_an_hour_that_the_clock_shows_twice_is_two() -> None:
    """When summer time ends."""
    hours = [datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (4, 5, 6, 7)]
    entries = [Entry(manifest=manifest(at, salt=at.hour)) for at in hours]

    assert len(kept(entries, msgspec.structs.replace(NOTHING_ELSE, hourly=4), zone="America/New_York")) == 4


def test_each_verdict_has_its_reasons() -> None:
    old, middle, new = every(timedelta(days=40), 3)[::-1]
    old = msgspec.structs.replace(old, records=(record(old.manifest, NOW - timedelta(days=1)),))

    verdicts = decide([old, middle, new], NOTHING_ELSE)

    assert [one.reasons for one in verdicts] == [
        ("the newest proven one",),
        (),
        ("one of the last 1", "the newest good one"),
    ]

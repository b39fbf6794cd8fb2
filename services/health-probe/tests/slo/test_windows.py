"""The rules of planned maintenance, each alone and all together."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from health_probe.slo.moments import Period, minute_of, moment, month_of
from health_probe.slo.windows import honoured, minutes_left, planned, rules_in_words, violations
from hypothesis import given
from hypothesis import strategies as st
from yaoki.config import MaintenanceSection
from yaoki.maintenance import MaintenanceWindow, active_window, concerns

RULES = MaintenanceSection()
TOKYO = ZoneInfo("Asia/Tokyo")
TARGETS = ("orders-api", "orders-db")
NIGHT = datetime(2026, 11, 10, 2, 0, tzinfo=TOKYO)


def window(
    start: datetime = NIGHT,
    minutes: int = 60,
    *,
    notice: timedelta = timedelta(hours=48),
    name: str = "w",
    **more: object,
) -> MaintenanceWindow:
    built = MaintenanceWindow(
        window_id=name,
        targets=("orders-api",),
        start=start.astimezone(UTC),
        end=(start + timedelta(minutes=minutes)).astimezone(UTC),
        announced_at=(start - notice).astimezone(UTC),
        announced_by="ada",
    )
    return msgspec.structs.replace(built, **more)


def broken(candidate: MaintenanceWindow, *others: MaintenanceWindow) -> list[str]:
    return [violation.rule for violation in violations(candidate, others, TARGETS, RULES)]


def test_a_window_at_every_limit_is_accepted() -> None:
    """Exactly 48 hours ahead, exactly 02:00 to 06:00, exactly four hours."""
    assert broken(window(minutes=240)) == []


@pytest.mark.parametrize(
    ("candidate", "rule", "found"),
    [
        (window(notice=timedelta(hours=47, minutes=59)), "notice", "47 h 59 min ahead"),
        (window(notice=timedelta(hours=-1)), "notice", "a window that began 1h ago"),
        (window(NIGHT - timedelta(minutes=1)), "hours", "2026-11-10T01:59+09:00 to 2026-11-10T02:59+09:00"),
        (window(NIGHT + timedelta(hours=3), 61), "hours", "2026-11-10T05:00+09:00 to 2026-11-10T06:01+09:00"),
        (window(NIGHT + timedelta(hours=1), 25 * 60), "hours", "2026-11-10T03:00+09:00 to 2026-11-11T04:00+09:00"),
        (window(NIGHT.replace(tzinfo=UTC)), "hours", "2026-11-10T11:00+09:00 to 2026-11-10T12:00+09:00"),
        (window(NIGHT.replace(second=1)), "minutes", "2026-11-09T17:00:01+00:00"),
        (window(minutes=0), "minutes", "start 2026-11-10T02:00+09:00, end 2026-11-10T02:00+09:00"),
        (window(minutes=-5), "minutes", "end 2026-11-10T01:55+09:00"),
    ],
)
def test_a_refusal_names_the_rule_the_limit_and_what_was_found(
    candidate: MaintenanceWindow, rule: str, found: str
) -> None:
    """Whoever is refused can tell what to change."""
    first = next(v for v in violations(candidate, (), TARGETS, RULES) if v.rule == rule)

    assert found in first.found
    assert first.sentence().startswith(f"rule {rule}: {first.limit}; found ")
    assert any(words.startswith(f"{rule}: ") for words in rules_in_words(RULES))


def test_the_month_allows_four_hours_for_each_target() -> None:
    """The fifth hour of a month is refused, in another month or for another target it is not."""
    taken = [window(NIGHT + timedelta(days=day), 120, name=f"w{day}") for day in (1, 2)]
    fifth = window(NIGHT + timedelta(days=3), 1, name="fifth")
    cancelled = msgspec.structs.replace(taken[1], cancelled_at=NIGHT.astimezone(UTC))

    refusal = violations(fifth, taken, TARGETS, RULES)
    assert [v.rule for v in refusal] == ["monthly"]
    assert refusal[0].found == "240 min announced already for orders-api in 2026-11, and 1 more"
    assert "at most 240 min" in refusal[0].limit
    assert broken(window(NIGHT + timedelta(days=30), 240), *taken) == []
    assert broken(msgspec.structs.replace(fifth, targets=("orders-db",)), *taken) == []
    assert broken(msgspec.structs.replace(fifth, targets=()), *taken) == ["monthly"]
    assert broken(fifth, taken[0], cancelled) == []
    assert minutes_left(fifth, (taken[0],), TARGETS, RULES) == 119


def test_the_month_is_that_of_the_contract() -> None:
    """02:00 on the 1st in Tokyo is the month before in UTC."""
    first = window(datetime(2026, 12, 1, 2, 0, tzinfo=TOKYO), 240)

    assert broken(first, window(datetime(2026, 11, 30, 2, 0, tzinfo=TOKYO), 240, name="before")) == []


def test_windows_of_one_target_do_not_overlap() -> None:
    """Side by side is fine."""
    assert broken(window(NIGHT + timedelta(minutes=59)), window(name="first")) == ["overlap"]
    assert broken(window(NIGHT + timedelta(minutes=60)), window(name="first")) == []


anything = st.builds(
    MaintenanceWindow,
    window_id=st.uuids().map(str),
    targets=st.sampled_from([(), ("orders-api",), ("orders-db",), TARGETS]),
    start=st.integers(29_890_000, 29_960_000).map(moment),
    end=st.integers(29_890_000, 29_960_000).map(moment),
    announced_at=st.integers(29_880_000, 29_900_000).map(moment),
    announced_by=st.just("eve"),
    cancelled_at=st.none() | st.just(moment(29_880_000)),
)
nights = st.builds(
    window,
    start=st.integers(0, 40).map(lambda day: NIGHT + timedelta(days=day)),
    minutes=st.integers(1, 240),
    notice=st.integers(40, 60).map(lambda hours: timedelta(hours=hours)),
    name=st.uuids().map(str),
)


@given(st.lists(anything | nights, max_size=12))
def test_whatever_stands_in_the_record_only_what_keeps_the_rules_counts(found: list[MaintenanceWindow]) -> None:
    """At most four hours a month for each target, inside the hours, announced two days ahead, never cancelled."""
    for target in TARGETS:
        counted = honoured(found, target, RULES)
        minutes = planned(counted, Period(29_880_000, 29_980_000))
        months = Counter(month_of(minute, TOKYO) for minute in minutes)

        assert all(used <= 240 for used in months.values())
        assert all(2 <= moment(minute).astimezone(TOKYO).hour < 6 for minute in minutes)
        for own in counted:
            assert own.start - own.announced_at >= timedelta(hours=48)
            assert own.cancelled_at is None
            assert concerns(own, target)


@given(st.lists(nights, max_size=10))
def test_what_was_accepted_stays_accepted(found: list[MaintenanceWindow]) -> None:
    """A later announcement never takes an earlier one's minutes away."""
    ordered = sorted(found, key=lambda own: (own.announced_at, own.window_id))
    for count in range(len(ordered)):
        before = honoured(ordered[:count], "orders-api", RULES)
        after = honoured(ordered[: count + 1], "orders-api", RULES)
        assert {own.window_id for own in before} <= {own.window_id for own in after}


@given(st.lists(nights, max_size=6), st.integers(29_890_000, 29_960_000))
def test_the_window_that_recovery_sees_is_one_that_is_open(found: list[MaintenanceWindow], minute: int) -> None:
    """`active_window` answers exactly when some window of the target covers the moment."""
    active = active_window(found, "orders-api", moment(minute))

    inside = [own for own in found if minute_of(own.start) <= minute < minute_of(own.end)]
    assert (active is None) == (not inside)
    if active is not None:
        assert active.end == max(own.end for own in inside)
    assert active_window(found, "orders-db", moment(minute)) is None


@pytest.mark.parametrize("day", [datetime(2026, 3, 29), datetime(2026, 10, 25)])  # noqa: DTZ001 - the zone comes below
def test_hours_are_those_of_the_wall_where_clocks_are_changed(day: datetime) -> None:
    """In Berlin 02:00 to 06:00 lasts three or five hours on two days of the year."""
    berlin = ZoneInfo("Europe/Berlin")
    rules = MaintenanceSection(time_zone="Europe/Berlin", monthly_limit=6 * 3600)
    start, end = (day.replace(hour=hour, tzinfo=berlin).astimezone(UTC) for hour in (4, 6))
    inside = msgspec.structs.replace(window(), start=start, end=end, announced_at=start - timedelta(days=3))

    assert violations(inside, (), TARGETS, rules) == []
    late = msgspec.structs.replace(inside, end=end + timedelta(minutes=1))
    assert [v.rule for v in violations(late, (), TARGETS, rules)] == ["hours"]

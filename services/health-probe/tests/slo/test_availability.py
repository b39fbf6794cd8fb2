"""Availability, budget, credits and burn rates: exact at their thresholds."""

from __future__ import annotations

from fractions import Fraction

import pytest
from health_probe.slo.availability import availability, budget, combined, count, credit, kept
from health_probe.slo.burn import LONGEST, RULES, Alarm, rates, step, unseen
from health_probe.slo.minutes import Count
from health_probe.slo.moments import DAY_MINUTES, moment
from hypothesis import given
from hypothesis import strategies as st
from yaoki.commands.slo import MinuteCounts
from yaoki.config.slo import DEFAULT_CREDITS

counts = st.binary(max_size=500).map(lambda raw: bytes(byte % 5 for byte in raw))
MONTH = 30 * DAY_MINUTES


@given(counts)
def test_every_minute_of_the_contract_is_counted_once(minutes: bytes) -> None:
    """Up, down, maintenance and unknown together are all minutes there are."""
    found = count(minutes)

    assert found.up + found.down + found.maintenance + found.unknown == len(minutes) - minutes.count(Count.NONE)


@given(counts, st.integers(0, 499))
def test_availability_never_rises_when_a_minute_gets_worse(minutes: bytes, at: int) -> None:
    """Unknown is as bad as down; an up minute that turns bad lowers the figure; maintenance is neither."""
    if at >= len(minutes) or minutes[at] != Count.UP:
        return
    before = availability(count(minutes))
    for worse in (Count.DOWN, Count.UNKNOWN):
        after = availability(count(minutes[:at] + bytes([worse]) + minutes[at + 1 :]))
        assert before is not None
        assert after is not None
        assert after < before


@given(st.lists(st.binary(min_size=20, max_size=20).map(lambda raw: bytes(b % 5 for b in raw)), min_size=1, max_size=4))
def test_a_service_is_no_better_than_its_worst_target(targets: list[bytes]) -> None:
    """Down before unknown before maintenance before up; minutes outside of a target's contract do not count."""
    together = combined(targets)

    assert all(together[at] == max(own[at] for own in targets) for at in range(20))


@pytest.mark.parametrize(
    ("bad", "goal", "met"),
    [(216, 99.5, True), (217, 99.5, False), (43, 99.9, True), (44, 99.9, False), (432, 99.0, True), (433, 99.0, False)],
)
def test_the_goal_is_met_up_to_its_last_minute(bad: int, goal: float, met: bool) -> None:  # noqa: FBT001 - expected value
    """A month of 30 days may be down 216, 43.2 or 432 minutes."""
    minutes = MinuteCounts(up=MONTH - bad, down=bad)
    month = budget(minutes, MONTH, goal)

    assert kept(availability(minutes), goal) is met
    assert (month.used <= month.total) is met
    assert (month.left >= 0) is met


@pytest.mark.parametrize(("days", "minutes"), [(28, "201.6"), (30, "216"), (31, "223.2")])
def test_the_budget_of_a_month(days: int, minutes: str) -> None:
    """At 99.5 %; planned maintenance is no part of what is promised."""
    assert budget(MinuteCounts(), days * DAY_MINUTES, 99.5).total == Fraction(minutes)
    assert budget(MinuteCounts(maintenance=240), days * DAY_MINUTES, 99.5).total == Fraction(minutes) - Fraction("1.2")


@pytest.mark.parametrize(
    ("percent", "due"),
    [("100", 0), ("99", 0), ("98.9999999", 5), ("98", 5), ("97.9999999", 10), ("0", 10)],
)
def test_credits_begin_below_their_thresholds(percent: str, due: float) -> None:
    """Below 99.0 %: 5 %; below 98.0 %: 10 %; exactly there nothing more."""
    assert credit(Fraction(percent), DEFAULT_CREDITS)[0] == due


@given(st.fractions(0, 100), st.fractions(0, 100))
def test_less_availability_never_costs_less(left: Fraction, right: Fraction) -> None:
    """The order of the tiers in the file does not matter."""
    low, high = sorted((left, right))

    assert credit(low, DEFAULT_CREDITS)[0] >= credit(high, DEFAULT_CREDITS)[0]
    assert credit(low, DEFAULT_CREDITS) == credit(low, DEFAULT_CREDITS[::-1])


def test_no_measurement_is_no_verdict() -> None:
    """A month without a minute is neither kept nor missed and owes nothing."""
    assert availability(MinuteCounts(maintenance=9)) is None
    assert kept(None, 99.5) is None
    assert credit(None, DEFAULT_CREDITS)[0] == 0


@pytest.mark.parametrize(
    ("bad", "burning"),
    [(4, []), (5, ["14.4x 1h/5m"]), (11, ["14.4x 1h/5m", "6x 6h/30m"])],
)
def test_a_total_outage_burns_after_its_fifth_minute(bad: int, burning: list[str]) -> None:
    """0.072 x 60 = 4.3 minutes for the first rule at 99.5 %, 0.03 x 360 = 10.8 for the second."""
    minutes = bytes([Count.UP]) * (LONGEST - bad) + bytes([Count.DOWN]) * bad

    assert [rate.rule.name for rate in rates(minutes, 99.5) if rate.burning] == burning


def test_a_slow_leak_burns_on_the_long_windows_only() -> None:
    """One bad minute in a hundred is twice what 99.5 % bears: a ticket, not a page."""
    minutes = (bytes([Count.UP]) * 99 + bytes([Count.UNKNOWN])) * (LONGEST // 100 + 1)

    assert [rate.rule.name for rate in rates(minutes[-LONGEST:], 99.5) if rate.burning] == ["1x 3d/6h"]


def test_a_rule_recovers_when_its_short_window_is_clean() -> None:
    """What burnt an hour ago is no reason to wake somebody now."""
    minutes = bytes([Count.UP]) * LONGEST + bytes([Count.DOWN]) * 8

    assert rates(minutes, 99.5)[0].burning
    assert rates(minutes + bytes([Count.UP]) * 4, 99.5)[0].burning
    assert not rates(minutes + bytes([Count.UP]) * 5, 99.5)[0].burning


@given(st.binary(max_size=LONGEST).map(lambda raw: bytes(b % 5 for b in raw)), st.sampled_from([99.0, 99.5, 99.9]))
def test_a_new_service_burns_no_more_than_its_bad_minutes(minutes: bytes, goal: float) -> None:
    """Minutes before the contract are no errors: padding with good ones changes nothing."""
    assert rates(minutes, goal) == rates(bytes([Count.UP]) * (LONGEST - len(minutes)) + minutes, goal)


@given(st.lists(st.booleans(), max_size=40), st.lists(st.booleans(), max_size=40))
def test_an_alarm_begins_once_and_ends_once(holding: list[bool], telling: list[bool]) -> None:
    """However the condition flickers and however late it is told: began, ended, began, ended."""
    alarms: dict[str, Alarm] = {}
    told = []
    for minute, holds in enumerate(holding):
        alarms = step(alarms, {"rule": holds}, minute)
        reached = minute < len(telling) and telling[minute]
        alarm = alarms.get("rule")
        if alarm is None or not reached:
            continue
        if not alarm.told:
            told.append("began")
            alarms["rule"] = Alarm(since=alarm.since, told=True, over=alarm.over)
        if alarm.over is not None:
            told.append("ended")
            del alarms["rule"]

    assert told == ["began", "ended"] * (len(told) // 2) + ["began"] * (len(told) % 2)


def test_an_alarm_keeps_its_beginning() -> None:
    """The closing event names the same moment as the opening one."""
    first = step({}, {"rule": True}, 10)

    assert step(first, {"rule": True}, 11) == first
    assert step(first, {"rule": False}, 12)["rule"] == Alarm(since=moment(10), over=moment(12))


def test_unseen_minutes_are_counted_from_the_end() -> None:
    """A minute that was seen, up or down, ends the run."""
    assert unseen(bytes([Count.UNKNOWN, Count.DOWN, Count.UNKNOWN, Count.UNKNOWN])) == 2
    assert unseen(bytes([Count.UP])) == 0
    assert [rule.factor for rule in RULES] == [Fraction("14.4"), 6, 3, 1]

"""The stored day: what is written is what is read, and nothing is counted twice."""

from __future__ import annotations

from itertools import pairwise

import pytest
from health_probe.slo.minutes import Count, Day, Seen, decode, encode
from health_probe.slo.moments import DAY_MINUTES
from health_probe.slo.responses import BOUNDS_MS, Responses, measured, tally
from hypothesis import given
from hypothesis import strategies as st

states = st.binary(max_size=DAY_MINUTES).map(lambda raw: bytes(1 + byte % 3 for byte in raw))
samples = st.lists(st.tuples(st.integers(0, DAY_MINUTES - 1), st.floats(0, 20_000)), max_size=60)


def day_with(seen: bytes, planned: list[int], measures: list[tuple[int, float]]) -> Day:
    responses = Responses()
    for minute, milliseconds in measures:
        responses += measured(minute, milliseconds)
    return Day(day=20_000).decided(seen, [minute for minute in planned if minute < len(seen)], responses)


@given(states, st.lists(st.integers(0, DAY_MINUTES - 1)), samples)
def test_a_stored_day_is_read_as_it_was(seen: bytes, planned: list[int], measures: list[tuple[int, float]]) -> None:
    """Two bits a minute lose nothing."""
    day = day_with(seen, planned, measures)

    assert decode(encode(day)) == day


def test_a_day_takes_360_bytes_and_little_more() -> None:
    """The ledger stays small whatever happened."""
    quiet = Day(day=20_000).decided(bytes([Seen.UP]) * DAY_MINUTES, [], Responses())
    busy = Responses()
    for minute in range(DAY_MINUTES):
        for milliseconds in (3.0, 14.0):
            busy += measured(minute, milliseconds)
    loud = Day(day=20_000).decided(bytes(1 + i % 3 for i in range(DAY_MINUTES)), [], busy)

    assert len(encode(quiet)) < 375
    assert len(encode(loud)) < 360 + 96 * 10


@given(states, st.lists(st.integers(0, DAY_MINUTES), max_size=6))
def test_minutes_decided_in_any_portions_are_the_same_day(seen: bytes, cuts: list[int]) -> None:
    """How often the writer wrote, and how often it was replaced, leaves no trace."""
    whole = Day(day=20_000).decided(seen, [], Responses())
    day = Day(day=20_000)
    for first, end in pairwise(sorted({0, len(seen), *(min(cut, len(seen)) for cut in cuts)})):
        day = day.decided(seen[first:end], [], Responses())

    assert day == whole


@given(states, st.lists(st.integers(0, DAY_MINUTES - 1)))
def test_maintenance_hides_nothing_from_the_raw_figures(seen: bytes, planned: list[int]) -> None:
    """Each decided minute is one thing adjusted and one thing raw; only planned minutes differ."""
    day = day_with(seen, planned, [])
    adjusted, raw = day.counts(), day.raw_counts()

    assert len(adjusted) == len(raw) == DAY_MINUTES
    for minute in range(DAY_MINUTES):
        if minute < len(seen):
            assert raw[minute] != Count.MAINTENANCE
            assert adjusted[minute] == (Count.MAINTENANCE if minute in set(planned) else raw[minute])
        else:
            assert adjusted[minute] == raw[minute] == Count.NONE


def test_a_minute_that_is_not_decided_cannot_be_corrected() -> None:
    """A correction never decides."""
    day = Day(day=20_000).decided(bytes([Seen.UP]) * 10, [], Responses())

    with pytest.raises(ValueError, match="through 10"):
        day.corrected(8, bytes([Seen.DOWN]) * 3)


@given(samples)
def test_every_response_is_counted_once(measures: list[tuple[int, float]]) -> None:
    """Count, mean and share within a time are those of the measurements themselves."""
    responses = day_with(b"", [], []).responses
    for minute, milliseconds in measures:
        responses += measured(minute, milliseconds)
    total = tally(responses)

    assert total.responses == len(measures)
    assert total.sum_ms == sum(round(milliseconds) for _, milliseconds in measures)
    for bound in BOUNDS_MS:
        assert total.within(bound / 1000) == sum(milliseconds <= bound for _, milliseconds in measures)


@given(samples, st.integers(0, 96))
def test_a_day_cut_at_any_quarter_of_an_hour_is_two_parts(measures: list[tuple[int, float]], quarter: int) -> None:
    """The calendar day of a contract can be put together from two UTC days."""
    responses = Responses()
    for minute, milliseconds in measures:
        responses += measured(minute, milliseconds)
    cut = quarter * 15

    assert tally(responses, 0, cut) + tally(responses, cut, DAY_MINUTES) == tally(responses)

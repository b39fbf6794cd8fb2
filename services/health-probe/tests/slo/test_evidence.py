"""From evidence to minutes: nothing is up that was not seen, nothing is down that did not fail."""

from __future__ import annotations

import msgspec
from health_probe.slo.evidence import (
    COVERED,
    Outage,
    Sight,
    Span,
    Track,
    conclude,
    correct,
    decidable,
    decide,
    merged,
)
from health_probe.slo.minutes import Seen
from health_probe.slo.moments import Period
from hypothesis import given
from hypothesis import strategies as st

LENGTH = 12
PERIOD = Period(0, LENGTH)
END_S = LENGTH * 60

seconds = st.integers(-60, END_S + 60).map(float)
spans = st.tuples(seconds, seconds).map(lambda pair: Span(min(pair), max(pair)))
tracks = st.builds(
    Track,
    covered=st.lists(spans, max_size=3).map(merged),
    healthy=st.lists(spans, max_size=3).map(merged),
    failing=st.lists(spans, max_size=2).map(merged),
)
outages = st.lists(
    st.builds(Outage, incident_id=st.just("i"), start=seconds, end=st.none() | st.just(float(END_S + 60))), max_size=2
)


def second_by_second(minute: int, spans: tuple[Span, ...]) -> list[bool]:
    """Whether each second of a minute lies in one of the spans; the reference for the painting."""
    return [
        any(span.start <= at and at + 1 <= span.end for span in spans) for at in range(60 * minute, 60 * minute + 60)
    ]


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), tracks, max_size=3), outages)
def test_no_minute_is_up_with_a_hole_or_a_failure_in_it(found: dict[str, Track], failures: list[Outage]) -> None:
    """Up needs every second covered and no outage; an outage needs nothing else to make it down."""
    states = conclude(found, failures, PERIOD)

    covered = tuple(span for track in found.values() for span in track.covered)
    for minute in range(LENGTH):
        failed = any(
            outage.start < 60 * minute + 60 and (outage.end is None or outage.end > 60 * minute) for outage in failures
        )
        if failed:
            assert states[minute] == Seen.DOWN
        if states[minute] in {Seen.UP, COVERED}:
            assert not failed
            assert all(second_by_second(minute, merged(covered)))


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), tracks, max_size=3), outages)
def test_evidence_that_says_nothing_is_unknown(found: dict[str, Track], failures: list[Outage]) -> None:
    """Without a failure and without cover nobody can say anything."""
    states = conclude(found, failures, PERIOD)

    blind = conclude({}, failures, PERIOD)
    assert all(state in {Seen.DOWN, Seen.UNKNOWN} for state in blind)
    assert all(state == Seen.DOWN for state, alone in zip(states, blind, strict=True) if alone == Seen.DOWN)


@given(st.lists(spans, max_size=5))
def test_one_vantage_of_three_cannot_make_a_minute_down(failing: list[Span]) -> None:
    """More than half of those that looked have to agree."""
    whole = (Span(0, END_S),)
    found = {
        "a": Track(covered=whole, failing=merged(failing)),
        "b": Track(covered=whole, healthy=whole),
        "c": Track(covered=whole, healthy=whole),
    }

    assert Seen.DOWN not in conclude(found, [], PERIOD)
    assert conclude(found | {"b": found["a"]}, [], PERIOD).count(Seen.DOWN) == conclude(
        {"a": found["a"]}, [], PERIOD
    ).count(Seen.DOWN)


sights = st.lists(
    st.builds(
        Sight,
        at=seconds,
        observed_since=seconds,
        since=seconds,
        failing_since=st.none() | seconds,
        suspect_since=st.none() | seconds,
    ),
    max_size=8,
)


@given(sights)
def test_views_twice_or_out_of_order_change_nothing(found: list[Sight]) -> None:
    """Redelivery and re-reading a bucket are harmless."""
    once = Track()
    for sight in found:
        once = once.seeing(sight, 60)
    again = once
    for sight in [*found, *reversed(found)]:
        again = again.seeing(sight, 60) if once.last is not None and sight.at <= once.last.at else again

    assert again == once


@given(sights)
def test_a_track_claims_nothing_beyond_its_views(found: list[Sight]) -> None:
    """Nothing is covered after the newest result, and being healthy is part of being covered."""
    track = Track()
    for sight in found:
        track = track.seeing(sight, 60)
    newest = max((sight.at for sight in found), default=0.0)

    assert all(span.end <= newest for span in track.covered)
    assert all(any(c.start <= span.start and span.end <= c.end for c in track.covered) for span in track.healthy)


@given(st.binary(min_size=LENGTH, max_size=LENGTH), st.binary(min_size=LENGTH, max_size=LENGTH))
def test_a_correction_needs_proof(old: bytes, new: bytes) -> None:
    """A down minute becomes up by nothing less than views that say so; ignorance changes nothing."""
    before, concluded = bytes(byte % 4 for byte in old), bytes(1 + byte % 4 for byte in new)
    after = correct(before, concluded)

    for was, said, now in zip(before, concluded, after, strict=True):
        assert (was == Seen.NONE) == (now == Seen.NONE)
        if said == Seen.UNKNOWN:
            assert now == was
        if was == Seen.DOWN and now == Seen.UP:
            assert said == Seen.UP
    assert correct(after, concluded) == after


def test_a_silent_prober_makes_minutes_unknown_until_it_proves_that_it_looked() -> None:
    """Cut off for ten minutes: unknown at first, up once its view says that it never stopped looking."""
    cut = Track().seeing(Sight(at=60, observed_since=0, since=0), 60)
    back = cut.seeing(Sight(at=600, observed_since=0, since=0), 60)
    stopped = cut.seeing(Sight(at=600, observed_since=590, since=0), 60)
    minutes = Period(0, 10)

    assert decide(conclude({"a": cut}, [], minutes)) == bytes([Seen.UP, *[Seen.UNKNOWN] * 9])
    assert decide(conclude({"a": back}, [], minutes)) == bytes([Seen.UP] * 10)
    assert decide(conclude({"a": stopped}, [], minutes)) == bytes([Seen.UP, *[Seen.UNKNOWN] * 9])


def test_a_failure_without_an_event_is_one_all_the_same() -> None:
    """A child of a failed parent raises no event; its view says that it is down."""
    track = Track()
    for sight in (
        Sight(at=60, observed_since=0, since=0),
        Sight(at=120, observed_since=0, since=120, failing_since=70),
        Sight(at=180, observed_since=0, since=120, failing_since=70),
        Sight(at=240, observed_since=0, since=240),
        Sight(at=360, observed_since=0, since=240),
    ):
        track = track.seeing(sight, 90)

    assert decide(conclude({"a": track}, [], Period(0, 6))) == bytes([1, 2, 2, 2, 1, 1])


def test_a_minute_waits_while_somebody_suspects_a_failure_in_it() -> None:
    """What may still turn out to be the first minute of an outage is not decided as up."""
    suspect = Track(last=Sight(at=300, observed_since=0, since=130, suspect_since=130))
    healthy = Track(last=Sight(at=305, observed_since=0, since=0))

    assert decidable([healthy], 310, 95) == 5
    assert decidable([healthy, suspect], 310, 95) == (310 - 95) // 60
    assert decidable([suspect], 220, 95) == 2
    assert decidable([], 310, 95) == 3


@given(st.lists(sights.filter(bool), max_size=3), st.integers(0, END_S))
def test_no_minute_is_decided_before_it_is_over(found: list[list[Sight]], now: int) -> None:
    """Not even by a view from a clock that runs ahead."""
    assert decidable([Track(last=views[-1]) for views in found], now, 30) <= now // 60


def test_old_evidence_is_forgotten_and_nothing_else() -> None:
    """What proves newer minutes stays."""
    track = Track(covered=(Span(0, 10), Span(20, 40)), healthy=(Span(0, 10),), failing=(Span(30, 40),))

    assert track.since(15) == msgspec.structs.replace(track, covered=(Span(20, 40),), healthy=())

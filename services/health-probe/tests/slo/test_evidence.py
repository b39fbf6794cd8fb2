"""From evidence to minutes: nothing is up that was not seen, nothing is down that did not fail."""

from __future__ import annotations

import msgspec
from health_probe.quorum import Outcome, outcome_of
from health_probe.slo.book import TargetEvidence
from health_probe.slo.evidence import (
    COVERED,
    Outage,
    Panel,
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
from yaoki.events.probe import Ballot

LENGTH = 12
PERIOD = Period(0, LENGTH)
END_S = LENGTH * 60
ALONE = Panel(("a",), 1)
VANTAGES = ("a", "b", "c")
THREE = Panel(VANTAGES, 2)
WHOLE = (Span(0, END_S),)

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


found_by_vantage = st.dictionaries(st.sampled_from(VANTAGES), tracks, max_size=3)
panels = st.integers(1, 3).map(lambda quorum: Panel(VANTAGES, quorum))


def second_by_second(minute: int, spans: tuple[Span, ...]) -> list[bool]:
    """Whether each second of a minute lies in one of the spans; the reference for the painting."""
    return [
        any(span.start <= at and at + 1 <= span.end for span in spans) for at in range(60 * minute, 60 * minute + 60)
    ]


@given(found_by_vantage, outages, panels)
def test_no_minute_is_up_with_a_hole_or_a_failure_in_it(
    found: dict[str, Track], failures: list[Outage], panel: Panel
) -> None:
    """Up needs every second covered and no outage; an outage needs nothing else to make it down."""
    states = conclude(found, failures, panel, PERIOD)

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


@given(found_by_vantage, outages, panels)
def test_evidence_that_says_nothing_is_unknown(found: dict[str, Track], failures: list[Outage], panel: Panel) -> None:
    """Without a failure and without cover nobody can say anything."""
    states = conclude(found, failures, panel, PERIOD)

    blind = conclude({}, failures, panel, PERIOD)
    assert all(state in {Seen.DOWN, Seen.UNKNOWN} for state in blind)
    assert all(state == Seen.DOWN for state, alone in zip(states, blind, strict=True) if alone == Seen.DOWN)


@given(st.lists(st.sampled_from([Ballot.FAILED, Ballot.WELL, Ballot.UNKNOWN]), min_size=1, max_size=5), st.data())
def test_a_minute_is_what_the_verdict_would_be(votes: list[Ballot], data: st.DataObject) -> None:
    """By the quorum that is configured: of vantages that all looked, failed or were dark for the whole time."""
    quorum = data.draw(st.integers(1, len(votes)))
    shown = {
        Ballot.FAILED: Track(covered=WHOLE, failing=WHOLE),
        Ballot.WELL: Track(covered=WHOLE, healthy=WHOLE),
        Ballot.UNKNOWN: Track(),
    }
    named = {f"v{number}": vote for number, vote in enumerate(votes)}
    found = {vantage: shown[vote] for vantage, vote in named.items()}

    states = decide(conclude(found, [], Panel(tuple(named), quorum), PERIOD))

    expected = {Outcome.FAILED: Seen.DOWN, Outcome.WELL: Seen.UP, Outcome.UNDECIDED: Seen.UNKNOWN}
    assert states == bytes([expected[outcome_of(votes, quorum)]] * LENGTH)


def test_a_configured_quorum_decides_in_the_ledger_too() -> None:
    """One vantage of three sees a failure: with a quorum of one that is an outage, with two or three it is none."""
    well = Track(covered=WHOLE, healthy=WHOLE)
    found = {"a": Track(covered=WHOLE, failing=(Span(130, 170),)), "b": well, "c": well}

    assert conclude(found, [], Panel(VANTAGES, 1), Period(1, 4)) == bytes([COVERED, Seen.DOWN, COVERED])
    for quorum in (2, 3):
        assert Seen.DOWN not in conclude(found, [], Panel(VANTAGES, quorum), PERIOD)


def test_what_one_vantage_of_three_says_alone_proves_nothing() -> None:
    """Neither that it failed nor that it was well, while the other two are dark."""
    for said in (Track(covered=WHOLE, healthy=WHOLE), Track(covered=WHOLE, failing=WHOLE)):
        assert conclude({"a": said}, [], THREE, PERIOD) == bytes([Seen.UNKNOWN] * LENGTH)


def test_a_view_from_a_vantage_that_does_not_watch_the_target_counts_for_nothing() -> None:
    """One that was taken out of the configuration leaves its last view behind."""
    evidence = TargetEvidence(60.0, ALONE)
    evidence.see("gone", Sight(at=60, observed_since=0, since=0), 1.0)

    assert (evidence.tracks, evidence.late) == ({}, [])


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

    assert decide(conclude({"a": cut}, [], ALONE, minutes)) == bytes([Seen.UP, *[Seen.UNKNOWN] * 9])
    assert decide(conclude({"a": back}, [], ALONE, minutes)) == bytes([Seen.UP] * 10)
    assert decide(conclude({"a": stopped}, [], ALONE, minutes)) == bytes([Seen.UP, *[Seen.UNKNOWN] * 9])


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

    assert decide(conclude({"a": track}, [], ALONE, Period(0, 6))) == bytes([1, 2, 2, 2, 1, 1])


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

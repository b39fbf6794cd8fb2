"""A prober is counted as gone only after it has stopped speaking; one that renews never is. In simulation."""

from __future__ import annotations

from typing import Final

from health_probe.roster import SPEAKING_SHARE, Member, Signs
from hypothesis import given
from hypothesis import strategies as st

TTL: Final = 10.0
ME, OTHER = Member("local", "me"), Member("local", "other")

# When somebody sends a renewal after the one before, and how long each takes to the stream and to the watcher.
renewals = st.lists(st.tuples(st.floats(0.1, TTL / 2), st.floats(0, TTL), st.floats(0, TTL)), max_size=30)


def timeline(steps: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Of each renewal: when it was sent, when the stream took it in, and how long its way to a watcher is."""
    found, sent, stored = [], 0.0, 0.0
    for pause, way, back in steps:
        # The next is sent when the one before was acknowledged; the stream is in order.
        sent = max(sent + pause, stored)
        stored = max(stored, sent + way)
        found.append((sent, stored, back))
    return found


def watched(
    mine: list[tuple[float, float, float]], others: list[tuple[float, float, float]]
) -> list[tuple[float, Signs]]:
    """What I have seen after each message, which come to me in the order of the stream."""
    stream = sorted(
        [(stored, 0, sent, back) for sent, stored, back in others]
        + [(stored, 1, sent, back) for sent, stored, back in mine]
    )
    signs, at, found = Signs(horizon=0.0, heard={OTHER: 0.0}), 0.0, []
    for stored, is_mine, sent, back in stream:
        at = max(at, stored + back)
        signs = signs.own(sent) if is_mine else signs.renewed(OTHER, at)
        found.append((at, signs))
    return found


@given(renewals, renewals)
def test_whoever_is_counted_as_gone_has_stopped_speaking_before(
    mine: list[tuple[float, float, float]], others: list[tuple[float, float, float]]
) -> None:
    """Whatever is slow or lost: it speaks for a share of the ttl from when it *sent* a renewal that was taken in."""
    his = timeline(others)
    for at, signs in watched(timeline(mine), his):
        if OTHER not in signs.alive(TTL):
            # Only what the stream had taken in before it was counted out could still allow it to speak.
            sent = [sent for sent, stored, _ in his if stored <= signs.horizon]
            assert max(sent, default=0.0) + TTL * SPEAKING_SHARE < at


@given(st.lists(st.floats(0.1, TTL / 2), max_size=40), st.lists(st.floats(0.1, TTL / 2), max_size=40))
def test_whoever_renews_in_time_is_never_counted_as_gone_however_long_the_stream_is_silent(
    mine: list[float], others: list[float]
) -> None:
    my, his = timeline([(pause, 0, 0) for pause in mine]), timeline([(pause, 0, 0) for pause in others])
    end = his[-1][0] if his else 0.0
    for _, signs in watched(my, his):
        assert signs.horizon > end or OTHER in signs.alive(TTL)


def test_after_a_gap_of_my_own_everybody_gets_a_whole_lease() -> None:
    signs = Signs(horizon=0.0, heard={OTHER: 0.0}).after_a_gap(100.0).own(101.0)
    assert OTHER in signs.alive(TTL)
    assert OTHER not in signs.own(100.0 + TTL + 0.1).alive(TTL)


def test_whoever_leaves_is_gone_at_once() -> None:
    assert Signs(horizon=0.0, heard={OTHER: 0.0}).gone(OTHER).alive(TTL) == frozenset()

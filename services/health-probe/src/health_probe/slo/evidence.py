"""From health views and failure events to the state of each minute: pure.

What proves a minute:

- *down*: a failure touches it: from `first_failed_at` to its clearing, by the events, or by the views of a quorum of
  vantages (a failure whose event is suppressed is still a failure);
- *up*: no failure touches it, results cover all of it without a hole (`observed_since` of the views), and so many
  vantages looked and saw no failure that the others could not make up a quorum;
- *unknown*: neither; it counts as down.

A minute is decided when every live vantage has looked past its end and none of them suspects a failure that began
before it, or when a result could not come any more. What comes later than that corrects the minute, openly.

Invariants: no minute is up that a known failure touches, or that has a hole; evidence may come in any order, twice
or late, and leads to the same minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from health_probe.quorum import Outcome, outcome
from health_probe.slo.minutes import Seen
from health_probe.slo.moments import MINUTE_S, Period

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COVERED: Final = 4
"""Beside `Seen`, from `conclude` only: results cover the minute, but what they said is only known by the events."""

KEPT_S: Final = 2 * 86_400
"""Evidence that is older is forgotten; what it proved stands in the ledger."""


class Panel(msgspec.Struct, frozen=True):
    """Whose views of a target count.

    Attributes:
        vantages: Each has one vote.
        quorum: Votes that make a failure.
    """

    vantages: tuple[str, ...]
    quorum: int


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """One failure of a target, by its events; seconds since 1970.

    Attributes:
        start: End of the first failing probe.
        end: End of the probe that cleared it; None while it lasts.
    """

    incident_id: str
    start: float
    end: float | None = None


class Span(msgspec.Struct, frozen=True):
    """Seconds since 1970, from and to."""

    start: float
    end: float


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What one view of one vantage says.

    Attributes:
        at: When its newest result ended.
        observed_since: Since when results have come without a hole; `at` when the view does not say.
        since: When it entered its state.
        failing_since: Set while the vantage holds the target for failed.
        suspect_since: Set while it only suspects a failure.
    """

    at: float
    observed_since: float
    since: float
    failing_since: float | None = None
    suspect_since: float | None = None


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """All that one vantage has shown of one target.

    Attributes:
        covered: Results came without a hole, merged, in order.
        healthy: Parts of `covered` in which the view itself said that all was well.
        failing: The view said that the target had failed.
        last: The newest view.
    """

    covered: tuple[Span, ...] = ()
    healthy: tuple[Span, ...] = ()
    failing: tuple[Span, ...] = ()
    last: Sight | None = None

    def seeing(self, sight: Sight, patience_s: float) -> Track:
        """The track with one more view; views that are not newer change nothing."""
        last = self.last
        if last is not None and sight.at <= last.at:
            return self
        start = min(sight.observed_since, sight.at)
        if last is not None and sight.at - last.at <= patience_s:
            start = min(start, last.at)
        failing, healthy = self.failing, self.healthy
        if sight.failing_since is not None:
            failing = merged((*failing, Span(min(sight.failing_since, sight.at), sight.at)))
        elif sight.suspect_since is None:
            healthy = merged((*healthy, Span(min(max(start, sight.since), sight.at), sight.at)))
        if last is not None and last.failing_since is not None and sight.failing_since is None:
            # It was down until the result that cleared it; of a vantage that was away, only as long as it said so.
            failing = merged((*failing, Span(last.at, max(last.at, min(sight.since, sight.at)))))
        covered = merged((*self.covered, Span(start, sight.at)))
        return Track(covered=covered, healthy=healthy, failing=failing, last=sight)

    def since(self, oldest: float) -> Track:
        """The track without what ended before `oldest`."""
        return msgspec.structs.replace(
            self,
            covered=tuple(span for span in self.covered if span.end >= oldest),
            healthy=tuple(span for span in self.healthy if span.end >= oldest),
            failing=tuple(span for span in self.failing if span.end >= oldest),
        )


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same seconds in as few spans as possible, in order."""
    result: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        if result and span.start <= result[-1].end:
            result[-1] = Span(result[-1].start, max(result[-1].end, span.end))
        else:
            result.append(span)
    return tuple(result)


def conclude(tracks: Mapping[str, Track], outages: Iterable[Outage], panel: Panel, period: Period) -> bytes:
    """A `Seen`, or COVERED, for each minute of the period, by all that is known; `tracks` are those of the panel."""
    length = len(period)
    covered = _whole(merged(span for track in tracks.values() for span in track.covered), period)
    weak, looking, failing = [0] * length, [0] * length, [0] * length
    for track in tracks.values():
        looked, well = _touched(track.covered, period), _whole(track.healthy, period)
        failed = _touched(track.failing, period)
        for at in range(length):
            looking[at] += looked[at] and not failed[at]
            weak[at] += looked[at] and not well[at]
            failing[at] += failed[at]
    down = _touched([Span(o.start, o.end if o.end is not None else period.end * MINUTE_S) for o in outages], period)
    votes = [
        outcome(failing[at], looking[at], vantages=len(panel.vantages), quorum=panel.quorum) for at in range(length)
    ]
    return bytes(
        Seen.DOWN
        if down[at] or votes[at] is Outcome.FAILED
        else (COVERED if weak[at] else Seen.UP)
        if covered[at] and votes[at] is Outcome.WELL
        else Seen.UNKNOWN
        for at in range(length)
    )


def decide(concluded: bytes) -> bytes:
    """What is written when a minute is decided for the first time."""
    return concluded.translate(_DECIDED)


def correct(before: bytes, concluded: bytes) -> bytes:
    """What decided minutes become by later evidence.

    Only proof changes a minute: a failure makes it down, an unbroken series of results makes an unknown one up,
    and a down one becomes up only where the views themselves said that all was well.
    """
    return bytes(_corrected(old, new) for old, new in zip(before, concluded, strict=True))


def decidable(tracks: Iterable[Track], now: float, patience_s: float) -> int:
    """The first minute that cannot be decided yet."""
    hopeless = int((now - patience_s) // MINUTE_S)
    live = [track.last for track in tracks if track.last is not None and now - track.last.at <= patience_s]
    if not live:
        return hopeless
    reached = min(min(sight.at, sight.suspect_since or sight.at) for sight in live)
    # A view from a clock that runs ahead must not decide a minute that is not over.
    return max(hopeless, int(min(reached, now) // MINUTE_S))


_DECIDED: Final = bytes.maketrans(bytes([COVERED]), bytes([Seen.UP]))


def _corrected(old: int, new: int) -> int:
    if old == Seen.NONE or new == Seen.UNKNOWN:
        return old
    if new == COVERED:
        return Seen.UP if old == Seen.UNKNOWN else old
    return new


def _touched(spans: Iterable[Span], period: Period) -> bytearray:
    """1 for each minute that a span touches; a span of no length touches the minute that it lies in."""
    marks = bytearray(len(period))
    for span in spans:
        first = max(int(span.start // MINUTE_S), period.first)
        last = min(int(-(-span.end // MINUTE_S)) - 1, period.end - 1)
        last = max(last, min(int(span.start // MINUTE_S), period.end - 1))
        for minute in range(first, last + 1):
            marks[minute - period.first] = 1
    return marks


def _whole(spans: Iterable[Span], period: Period) -> bytearray:
    """1 for each minute that lies in one span as a whole."""
    marks = bytearray(len(period))
    for span in spans:
        first = max(int(-(-span.start // MINUTE_S)), period.first)
        end = min(int(span.end // MINUTE_S), period.end)
        for minute in range(first, end):
            marks[minute - period.first] = 1
    return marks

"""Whether the prober itself is well. Pure: times are handed in, nothing is measured here.

    loop      its event loop stood still: whatever it timed meanwhile is wrong
    clock     its wall clock jumped against a clock that cannot: whatever is judged by age is wrong
    network   its own way out is gone: whatever it cannot reach says nothing
    crowd     most of its targets turned bad at once while NATS was out of reach too (see `crowd`)

Invariants:

- a result is believed only when no sign was seen from the start of its probe to its end, nor within `settle_s`
  before its end;
- a loop that stands still is noticed at the first result after it, however its timers are ordered, because `look`
  compares with the last beat and does not wait for the next;
- without a sign for `settle_s` the prober is well again: no sign outlasts what it was seen by.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from datetime import datetime

BEAT_S: Final = 0.25
"""How often the prober looks at itself, seconds."""


class Sign(StrEnum):
    """By what the prober knows that it is not well."""

    LOOP = "loop"
    CLOCK = "clock"
    NETWORK = "network"
    CROWD = "crowd"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """From where on something is a sign, seconds.

    Attributes:
        loop_lag_s: The loop stood still for longer.
        clock_jump_s: The wall clock moved by more than time has passed, or by less.
        settle_s: How long after the last sign nothing is believed yet.
    """

    loop_lag_s: float = 2.0
    clock_jump_s: float = 2.0
    settle_s: float = 10.0


class _Seen(msgspec.Struct):
    reason: str
    at: float
    lasting: bool


class SelfHealth:
    """What is known of the prober itself.

    Args:
        limits: From where on something is a sign.
        now: On a clock that does not jump and goes on while the machine sleeps, seconds; so are all `now` below.
        wall: The wall clock at the same moment.
    """

    def __init__(self, limits: Limits, *, now: float, wall: datetime) -> None:
        self._limits = limits
        self._beat_at = now
        self._offset = wall.timestamp() - now
        self._seen: dict[Sign, _Seen] = {}

    def begin(self, now: float, wall: datetime) -> None:
        """The first beat: whatever was before it, nobody looked."""
        self._beat_at = now
        self._offset = wall.timestamp() - now

    def beat(self, now: float, wall: datetime) -> float:
        """To be called every `BEAT_S`; returns by how many seconds it is late."""
        self.look(now, wall)
        lag = max(0.0, now - self._beat_at - BEAT_S)
        # A clock that is slewed moves a little with every beat; only a step is a jump.
        self.begin(now, wall)
        return lag

    def look(self, now: float, wall: datetime) -> None:
        """Compare with the last beat: before anything that depends on time is believed."""
        lag = now - self._beat_at - BEAT_S
        if lag > self._limits.loop_lag_s:
            self._see(Sign.LOOP, now, f"its event loop stood still for {lag:.1f} s")
        jump = wall.timestamp() - now - self._offset
        if abs(jump) > self._limits.clock_jump_s:
            self._see(Sign.CLOCK, now, f"its clock jumped by {jump:+.1f} s")
            self._offset += jump

    def note(self, sign: Sign, now: float, problem: str | None) -> None:
        """Take in what somebody else found: a sign that lasts until it is noted with None."""
        if problem is not None:
            self._see(sign, now, problem, lasting=True)
        elif (seen := self._seen.get(sign)) is not None and seen.lasting:
            seen.lasting, seen.at = False, now

    def signs(self, now: float) -> dict[Sign, str]:
        """Every sign that keeps the prober from giving verdicts now, with one sentence each; empty when it is well."""
        return {sign: seen.reason for sign, seen in self._seen.items() if self._counts(seen, now, since=now)}

    def sign_since(self, started: float, now: float) -> Sign | None:
        """By what a result of a probe that ran from `started` to `now` is not to be believed."""
        return next((sign for sign, seen in self._seen.items() if self._counts(seen, now, since=started)), None)

    def reason(self, sign: Sign) -> str:
        """The newest sentence about a sign that was seen."""
        return self._seen[sign].reason

    def _see(self, sign: Sign, now: float, reason: str, *, lasting: bool = False) -> None:
        self._seen[sign] = _Seen(reason, now, lasting)

    def _counts(self, seen: _Seen, now: float, *, since: float) -> bool:
        return seen.lasting or seen.at >= since or now - seen.at < self._limits.settle_s

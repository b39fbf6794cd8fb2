"""A dead-man's switch: a target that has not checked in within `every` + `grace` is missed. Pure.

Check-ins reach whichever prober is there and are shared through KV, as is the proof that somebody was there to hear
them (`listened`): from when on, without a break. What was said while nobody listened is lost, so that time must not
count against the target, however short it was.

Invariants:

- a target is missed only after a whole `every` + `grace` without a check-in through which it is proven that somebody
  listened without a break; several shorter times do not add up, since each break may have swallowed a check-in;
- while nobody listens there is no verdict at all, nor while the clock is behind the newest proof;
- a target that stays silent is missed as soon as that time is proven. A lone prober that is restarted more often than
  `every` + `grace` therefore never misses anybody: two probers leave no break.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.errors import ErrorCode, RejectedError

if TYPE_CHECKING:
    from yaoki.config import Secret

BUCKET: Final = "heartbeats"

LISTENING_EVERY: Final = timedelta(seconds=2)
"""How often a prober writes that it listens."""

TOLERANCE: Final = timedelta(seconds=15)
"""Without that for longer, nobody listened; nor was time passing as usual if a clock claims that much."""

_LONG_AGO: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What a target has promised.

    Attributes:
        every: At most this long between two check-ins.
        grace: And this much more until it is missed.
        token: What a check-in has to bring; None asks for nothing.
    """

    every: timedelta
    grace: timedelta
    token: Secret | None = None

    @property
    def patience(self) -> timedelta:
        """From one check-in until the next is missed."""
        return self.every + self.grace


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """The newest uninterrupted time in which some prober listened.

    Attributes:
        since: Its begin; before it check-ins may have been lost.
        until: The newest proof.
    """

    since: datetime = _LONG_AGO
    until: datetime = _LONG_AGO


class Standing(StrEnum):
    """What is known of a target."""

    PRESENT = "present"
    MISSED = "missed"
    UNCERTAIN = "uncertain"
    UNHEARD = "unheard"


def extended(listening: Listening, since: datetime, at: datetime) -> Listening:
    """Take in a proof that somebody listened from `since` to `at`; older proofs than the newest change nothing."""
    if at <= listening.until:
        return listening
    if since <= listening.until and at - listening.until <= TOLERANCE:
        return msgspec.structs.replace(listening, until=at)
    return Listening(since=at, until=at)


def judge(expectation: Expectation, last: datetime, listening: Listening, now: datetime) -> Standing:
    """What stands at `now`, when `last` is the newest check-in known.

    UNCERTAIN: it may have checked in while nobody listened; UNHEARD: nobody listens now.
    """
    # A proof from the future: the clock was put back, and nothing of before says anything about now.
    if abs(now - listening.until) > TOLERANCE:
        return Standing.UNHEARD
    if now <= last + expectation.patience:
        return Standing.PRESENT
    heard_from = max(last, listening.since)
    return Standing.MISSED if listening.until >= heard_from + expectation.patience else Standing.UNCERTAIN


class HeartbeatBook:
    """What is known of all targets of kind `heartbeat`; in memory."""

    def __init__(self) -> None:
        self._expected: dict[str, Expectation] = {}
        self._last: dict[str, datetime] = {}
        self._listening = Listening()

    @property
    def targets(self) -> list[str]:
        """All that are expected to check in."""
        return sorted(self._expected)

    def expect(self, target: str, expectation: Expectation) -> None:
        """From now on `target` has to check in."""
        self._expected[target] = expectation

    def heard(self, target: str, at: datetime) -> None:
        """`target` checked in; an older check-in than the newest changes nothing."""
        self._last[target] = max(at, self._last.get(target, at))

    def listened(self, since: datetime, at: datetime) -> None:
        """Some prober listened from `since` to `at`, both UTC."""
        self._listening = extended(self._listening, since, at)

    def last(self, target: str) -> datetime | None:
        """The newest check-in; None when none is known."""
        return self._last.get(target)

    def standing(self, target: str, now: datetime) -> Standing:
        """What stands at `now`."""
        last = self._last.get(target)
        if last is None:
            return Standing.UNHEARD
        return judge(self._expected[target], last, self._listening, now)

    def admit(self, target: str, token: str | None) -> Expectation:
        """The expectation of a target that wants to check in.

        Raises:
            RejectedError: `not_found`: no such target; `not_allowed`: the wrong token.
        """
        expectation = self._expected.get(target)
        if expectation is None:
            names = ", ".join(get_close_matches(target, self._expected, cutoff=0.4) or self.targets[:3]) or "none"
            sentence = f"{target[:64]!r} is no target of kind heartbeat; closest names: {names}"
            raise RejectedError(sentence, code=ErrorCode.NOT_FOUND)
        if expectation.token is not None and not _same(token, expectation.token.reveal()):
            sentence = f"the check-in of {target} lacks the token of targets.{target}.token, or brings another one"
            raise RejectedError(sentence, code=ErrorCode.NOT_ALLOWED)
        return expectation


def _same(given: str | None, wanted: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(errors="replace"), wanted.encode())

"""Multi-window burn rates: pure. After the Site Reliability Workbook, chapter 5, for a monthly budget.

A burn rate of 1 uses the month's budget up exactly in a month. A rule holds when the rate is reached over its long
window (enough of the budget is gone to matter) and over its short one (it still burns). Both are taken over the
whole length of the window: minutes before the contract began are no errors.

Invariant: for each service and rule, burning and recovered alternate, beginning with burning; nothing is told twice.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import msgspec

from health_probe.slo.availability import allowed
from health_probe.slo.minutes import Count
from health_probe.slo.moments import moment

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE: Final = "page"
TICKET: Final = "ticket"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule; windows in minutes."""

    name: str
    severity: str
    factor: Fraction
    long: int
    short: int


RULES: Final = (
    Rule(name="14.4x 1h/5m", severity=PAGE, factor=Fraction("14.4"), long=60, short=5),
    Rule(name="6x 6h/30m", severity=PAGE, factor=Fraction(6), long=360, short=30),
    Rule(name="3x 1d/2h", severity=TICKET, factor=Fraction(3), long=1440, short=120),
    Rule(name="1x 3d/6h", severity=TICKET, factor=Fraction(1), long=4320, short=360),
)
LONGEST: Final = max(rule.long for rule in RULES)


class Rate(msgspec.Struct, frozen=True):
    """Burn rates of one rule over its two windows."""

    rule: Rule
    long: Fraction
    short: Fraction

    @property
    def burning(self) -> bool:
        """Whether the rule holds."""
        return self.long >= self.rule.factor and self.short >= self.rule.factor


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was told and is not over yet.

    Attributes:
        since: When it began, UTC.
        told: Its event is known to be stored.
        over: When it ceased; its closing event has to be told still.
    """

    since: datetime
    told: bool = False
    over: datetime | None = None


def rates(counts: bytes, goal: float) -> tuple[Rate, ...]:
    """The rates at the end of `counts`, the newest minutes of a service, of at least the longest window."""
    share = allowed(goal)
    return tuple(Rate(rule, _burnt(counts, rule.long) / share, _burnt(counts, rule.short) / share) for rule in RULES)


def step(alarms: Mapping[str, Alarm], holding: Mapping[str, bool], minute: int) -> dict[str, Alarm]:
    """The alarms after one more look.

    Args:
        alarms: Those that stand, by name. One that is over stays until its closing event is told.
        holding: Whether the condition of each name holds now.
        minute: The first minute that is not decided.
    """
    now = moment(minute)
    after = dict(alarms)
    for name, holds in holding.items():
        alarm = after.get(name)
        if holds and alarm is None:
            after[name] = Alarm(since=now)
        elif not holds and alarm is not None and alarm.over is None:
            after[name] = msgspec.structs.replace(alarm, over=now)
    return after


def unseen(counts: bytes) -> int:
    """How many of the newest minutes in a row nobody saw."""
    return len(counts) - len(counts.rstrip(bytes([Count.UNKNOWN])))


def _burnt(counts: bytes, window: int) -> Fraction:
    newest = counts[-window:]
    return Fraction(newest.count(Count.DOWN) + newest.count(Count.UNKNOWN), window)

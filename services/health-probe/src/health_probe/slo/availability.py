"""Availability, error budget and credits of counted minutes: pure, in exact arithmetic.

Availability = up / (up + down), where unknown minutes are down and planned maintenance is neither.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec
from yaoki.commands.slo import MinuteCounts

from health_probe.slo.minutes import Count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yaoki.config import Credit


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a month may be down, and what of it is gone.

    Attributes:
        total: Minutes, seldom a whole number.
        used: Minutes that were down or unknown.
    """

    total: Fraction
    used: int

    @property
    def left(self) -> float:
        """Share that is left; negative when more was used than there was."""
        return float(1 - self.used / self.total) if self.total else 0.0


def count(counts: bytes) -> MinuteCounts:
    """How many minutes of each kind; minutes outside of the contract are none of them."""
    return MinuteCounts(
        up=counts.count(Count.UP),
        down=counts.count(Count.DOWN),
        maintenance=counts.count(Count.MAINTENANCE),
        unknown=counts.count(Count.UNKNOWN),
    )


def combined(targets: Sequence[bytes]) -> bytes:
    """A service's minutes from those of its targets: each minute counts as the worst of them."""
    return targets[0] if len(targets) == 1 else bytes(map(max, *targets))


def availability(minutes: MinuteCounts) -> Fraction | None:
    """Percent, exact; None when there is no minute to speak of."""
    whole = minutes.up + minutes.down + minutes.unknown
    return Fraction(100 * minutes.up, whole) if whole else None


def budget(minutes: MinuteCounts, length: int, goal: float) -> Budget:
    """The budget of a whole month of `length` minutes of contract; its maintenance is no part of it."""
    total = (length - minutes.maintenance) * allowed(goal)
    return Budget(total=total, used=minutes.down + minutes.unknown)


def allowed(goal: float) -> Fraction:
    """The share of minutes that may be down. The goal means what its digits say: 99.9 is 999/1000."""
    return 1 - Fraction(str(goal)) / 100


def kept(percent: Fraction | None, goal: float) -> bool | None:
    """Whether the promise was kept; None when nothing was measured."""
    return None if percent is None else percent >= Fraction(str(goal))


def credit(percent: Fraction | None, tiers: Sequence[Credit]) -> tuple[float, str]:
    """The credit that is due, percent, and why in words.

    Invariant: never falls as availability falls; exactly at a threshold nothing is due for it.
    """
    due = [tier for tier in tiers if percent is not None and percent < Fraction(str(tier.below))]
    if not due:
        return 0.0, "no credit is due"
    tier = max(due, key=lambda tier: (tier.percent, -tier.below))
    return tier.percent, f"availability below {tier.below:g} %: {tier.percent:g} %"

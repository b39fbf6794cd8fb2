"""Response times, counted by quarter of an hour: pure.

Every time zone in use is a multiple of a quarter of an hour from UTC, so that the calendar day of any contract can
be put together exactly.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import zip_longest
from typing import Final

import msgspec
from yaoki.config.slo_checks import RESPONSE_BOUNDS_S

from health_probe.slo.moments import DAY_MINUTES

SLOT_MINUTES: Final = 15
BOUNDS_MS: Final = tuple(round(bound * 1000) for bound in RESPONSE_BOUNDS_S)

Slots = dict[int, tuple[int, ...]]
"""By slot of the day: sum in milliseconds, then how many up to each bound; the last counts all slower ones.

Zeros at the end are left out.
"""


class Responses(msgspec.Struct, frozen=True):
    """Responses of one day."""

    slots: Slots = {}

    def __add__(self, other: Responses) -> Responses:
        if not other.slots:
            return self
        slots = dict(self.slots)
        for slot, figures in other.slots.items():
            slots[slot] = _sum(slots.get(slot, ()), figures)
        return Responses(slots)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Responses of any period.

    Attributes:
        sum_ms: Of all of them.
        counts: By bound, as in `Slots`.
    """

    sum_ms: int = 0
    counts: tuple[int, ...] = ()

    @property
    def responses(self) -> int:
        """How many there were."""
        return sum(self.counts)

    @property
    def average_ms(self) -> float | None:
        """Mean, milliseconds; None without responses."""
        return self.sum_ms / self.responses if self.responses else None

    def within(self, seconds: float) -> int:
        """How many took at most `seconds`, which is one of the bounds."""
        return sum(self.counts[: BOUNDS_MS.index(round(seconds * 1000)) + 1])

    def __add__(self, other: Tally) -> Tally:
        total = _sum((self.sum_ms, *self.counts), (other.sum_ms, *other.counts))
        return Tally(sum_ms=total[0], counts=total[1:])


def measured(minute: int, response_ms: float) -> Responses:
    """One response that ended in this minute."""
    bucket = bisect_left(BOUNDS_MS, response_ms)
    return Responses({minute % DAY_MINUTES // SLOT_MINUTES: (round(response_ms), *(0,) * bucket, 1)})


def tally(responses: Responses, first: int = 0, end: int = DAY_MINUTES) -> Tally:
    """The responses of the slots that begin in the minutes from `first` to `end` of the day."""
    inside = [figures for slot, figures in responses.slots.items() if first <= slot * SLOT_MINUTES < end]
    if not inside:
        return Tally()
    total = [sum(column) for column in zip_longest(*inside, fillvalue=0)]
    return Tally(sum_ms=total[0], counts=tuple(total[1:]))


def _sum(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    longer, shorter = (left, right) if len(left) >= len(right) else (right, left)
    return (*(a + b for a, b in zip(longer, shorter, strict=False)), *longer[len(shorter) :])

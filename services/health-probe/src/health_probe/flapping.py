"""Whether a target changes its mind too often: the share of changes in its newest results. Pure.

Two thresholds, so that a target at the border does not flap between flapping and not flapping: it begins above
`start` and ends below `stop`. The share is taken of a whole window from the first result on, so a target of which
little is known needs as many changes as any other.

Invariants:

- nothing flaps that has changed at most `start` of the window: one outage, however long, never does (two changes);
- a target that has given the same result for a whole window does not flap.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import msgspec

GOOD: Final = "+"
BAD: Final = "-"


class Damping(msgspec.Struct, frozen=True, kw_only=True):
    """When a target counts as flapping.

    Attributes:
        results: How many of the newest are looked at; at least 2.
        start: Above this share of changes it begins to flap; with 1.0 nothing ever does.
        stop: Below this share it ends.
    """

    results: int = 20
    start: float = 0.3
    stop: float = 0.2


def with_result(recent: str, mark: str, damping: Damping) -> str:
    """The newest results, oldest first, with one more `GOOD` or `BAD`."""
    return (recent + mark)[-damping.results :]


def changes(recent: str) -> int:
    """How often two neighbouring results differ."""
    return sum(before != after for before, after in pairwise(recent))


def share(recent: str, damping: Damping) -> float:
    """Share of changes, 0 to 1, of as many as the window could hold."""
    return changes(recent[-damping.results :]) / (damping.results - 1)


def flaps(recent: str, damping: Damping, *, before: bool) -> bool:
    """Whether it flaps now, given whether it did before the newest result."""
    now = share(recent, damping)
    return now >= damping.stop if before else now > damping.start

"""Thresholds over a window of samples: pure, so that what raises a failure can be read and proved in one place.

A sample stands for the time since the sample before it, because that is what a counter's difference measures, but
for no more than half a window: what was not watched is not covered. A threshold is exceeded when at least
`COVERAGE` of the window is covered and the time-weighted mean over the covered part is above the limit.

Invariants, whatever the samples:

- the mean lies between the smallest and the largest value in the window;
- nothing is exceeded while less than `COVERAGE` of the window is covered, nor when no sample is above the limit;
- samples that all are above the limit and cover the window exceed it;
- raising a value never turns "exceeded" into "not exceeded".
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

COVERAGE: Final = 0.8
"""Share of a window that has to be covered before it may raise a failure."""

_LONGEST_GAP: Final = 0.5
"""Share of a window that one sample can stand for at most."""


class Sample(msgspec.Struct, frozen=True, order=True):
    """One measurement.

    Attributes:
        at: Seconds on a clock that does not go back.
        value: What was measured.
    """

    at: float
    value: float


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What the samples of a window say together.

    Attributes:
        mean: Weighted by time; None when nothing is covered.
        covered_s: Seconds of the window that samples stand for.
        length_s: Of the whole window.
    """

    mean: float | None
    covered_s: float
    length_s: float

    @property
    def complete(self) -> bool:
        """Whether enough of it is covered to raise a failure."""
        return self.covered_s >= COVERAGE * self.length_s

    def exceeds(self, limit: float) -> bool:
        """Whether the mean is above `limit` and the window complete."""
        return self.complete and self.mean is not None and self.mean > limit


def summarise(samples: Iterable[Sample], *, now: float, length_s: float) -> Window:
    """The window that ends `now`; the order of the samples does not matter, nor what lies outside."""
    begin = now - length_s
    covered, weighted, low, high = 0.0, 0.0, float("inf"), float("-inf")
    for before, sample in pairwise(sorted(samples)):
        since = max(before.at, sample.at - _LONGEST_GAP * length_s, begin)
        stands_for = min(sample.at, now) - since
        if stands_for > 0:
            covered += stands_for
            weighted += stands_for * sample.value
            low, high = min(low, sample.value), max(high, sample.value)
    if not covered:
        return Window(mean=None, covered_s=0.0, length_s=length_s)
    # Rounding may carry a mean of equal values past them, and so past a limit that they only touch.
    mean = min(max(weighted / covered, low), high)
    return Window(mean=mean, covered_s=covered, length_s=length_s)


class SampleBuffer:
    """The samples of one target, forgotten when they can no longer count.

    Args:
        length_s: Of the window.
    """

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._samples: list[Sample] = []

    def add(self, sample: Sample) -> Window:
        """Take a sample in; return the window that ends with it."""
        self._samples.append(sample)
        oldest = sample.at - 2 * self._length_s
        self._samples = [known for known in self._samples if known.at >= oldest]
        return summarise(self._samples, now=sample.at, length_s=self._length_s)

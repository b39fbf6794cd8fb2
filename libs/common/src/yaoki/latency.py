"""A latency histogram that can be added up over processes and periods: counts by buckets that grow by a factor.

Bucket 0 holds everything up to 1 ms, bucket i what lies above `GROWTH ** (i - 1)` and up to `GROWTH ** i` ms. An
hour-long request is in bucket 83, so a histogram never has more than about a hundred numbers; a quantile read from
it is at most 20 % too high and never too low.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GROWTH: Final = 1.2

HIGHEST: Final = 100
"""Index of the last bucket, which also holds all that is slower (about 23 hours)."""

_ROUNDING: Final = 1e-9


def bucket_of(milliseconds: float) -> int:
    """Index of the bucket that a duration belongs to."""
    if not milliseconds > 1.0:
        return 0
    if milliseconds >= upper_bound(HIGHEST):
        return HIGHEST
    # An upper bound belongs to its own bucket, whichever way its logarithm was rounded.
    return math.ceil(math.log(milliseconds, GROWTH) - _ROUNDING)


def upper_bound(bucket: int) -> float:
    """The longest duration in a bucket, milliseconds."""
    return GROWTH**bucket


def merged(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """All of them together."""
    total: dict[int, int] = {}
    for histogram in histograms:
        for bucket, count in histogram.items():
            total[bucket] = total.get(bucket, 0) + count
    return total


def quantile(histogram: Mapping[int, int], share: float) -> float | None:
    """The duration in milliseconds that `share` (0 to 1) of all do not exceed; None when there are none."""
    wanted = share * sum(histogram.values())
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if histogram[bucket] and seen >= wanted:
            return upper_bound(bucket)
    return None

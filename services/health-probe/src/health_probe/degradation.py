"""When a target that works counts as degraded, and when as fully well again: pure, for one vantage.

As many degraded results in a row make it degraded as failures make it failed, and as many good ones end that as
clear a failure. Results that are the prober's own fault change nothing; a failure breaks both rows.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING

import msgspec
from yaoki.events.probe import ProbeStatus

if TYPE_CHECKING:
    from yaoki.events.probe import ProbeResult

    from health_probe.hysteresis import Thresholds


class Degradation(msgspec.Struct, frozen=True, kw_only=True):
    """All that is remembered.

    Attributes:
        since: End of the first degraded result in a row, while the target counts as degraded; UTC.
        first: End of the first degraded result of the present row, UTC.
        row: Degraded results in a row.
        good: Good results in a row.
    """

    since: datetime | None = None
    first: datetime | None = None
    row: int = 0
    good: int = 0


def extended(known: Degradation, result: ProbeResult, thresholds: Thresholds) -> Degradation:
    """Take one result in."""
    match result.status:
        case ProbeStatus.DEGRADED:
            first = known.first or result.at
            row = known.row + 1
            since = known.since or (first if row >= thresholds.unhealthy_after else None)
            return Degradation(since=since, first=first, row=row)
        case ProbeStatus.HEALTHY:
            good = known.good + 1
            return Degradation(since=None if good >= thresholds.healthy_after else known.since, good=good)
        case ProbeStatus.UNHEALTHY:
            return Degradation(since=known.since)
        case ProbeStatus.UNKNOWN:
            return known

"""Since when a target has been seen without a hole: what lets others tell "nothing happened" from "nobody looked"."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from yaoki.events.probe import ProbeStatus

if TYPE_CHECKING:
    from yaoki.events.probe import ProbeResult

    from health_probe.hysteresis import Thresholds
    from health_probe.records import HealthRecord

LONGEST_HOLE = 3
"""Intervals that may pass between two results; after more nobody can say what happened in between."""


class Observation(msgspec.Struct, frozen=True):
    """An unbroken series of results, by the ends of its first and last probe, UTC.

    Invariant: between any two neighbouring results of the series no more than the longest hole passed, and none
    of them was the prober's own fault.
    """

    since: datetime
    last: datetime


def longest_hole(thresholds: Thresholds, timeout_s: float) -> timedelta:
    """How long a target may go unseen within one series."""
    return timedelta(seconds=LONGEST_HOLE * max(thresholds.interval_s, thresholds.suspect_interval_s) + timeout_s)


def extended(known: Observation | None, result: ProbeResult, hole: timedelta) -> Observation | None:
    """The series with one more result; a new one where the hole before it is too long."""
    if result.status is ProbeStatus.UNKNOWN:
        return known
    if known is None or not timedelta(0) <= result.at - known.last <= hole:
        return Observation(result.at, result.at)
    return Observation(known.since, result.at)


def observation_of(record: HealthRecord | None) -> Observation | None:
    """The series as a stored view tells it; None when its newest result is none of the target's."""
    if record is None or record.observed_since is None or record.last.status is ProbeStatus.UNKNOWN:
        return None
    return Observation(record.observed_since, record.checked_at)

"""What is kept of a target in KV `health`: one view for each vantage, and the verdict over all of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.commands.probe import TargetHealth, TargetVerdict
from yaoki.events.probe import (
    DegradationEnded,
    FailureCleared,
    FailureDetected,
    FlappingStopped,
    ProbeResult,
    ProbeStatus,
    TargetDegraded,
    TargetFlapping,
    TargetSuspected,
    VantageAgreement,
    VantageDisagreement,
)

from health_probe.degradation import Degradation
from health_probe.hysteresis import Health, Incident, TargetState, Thresholds

if TYPE_CHECKING:
    from health_probe.verdicts import Identity

BUCKET: Final = "health"

VerdictEvent = (
    TargetSuspected
    | FailureDetected
    | FailureCleared
    | TargetFlapping
    | FlappingStopped
    | TargetDegraded
    | DegradationEnded
    | VantageDisagreement
    | VantageAgreement
)


class HealthRecord(TargetHealth, frozen=True, kw_only=True):
    """`TargetHealth`, which everybody reads, with what only its vantage needs: whoever watches the target next.

    Attributes:
        prober: Who wrote it.
        failures: Failing results in a row.
        successes: Good results in a row.
        first_failed_at: Of the open incident.
        detected: It is a failure, not only a suspicion; kept through flapping.
        recent: The newest results that are evidence, oldest first: `+` good, `-` bad.
        evidence: Of the open incident, and of one that has just ended: its newest results, oldest first.
        degradation: Whether the target works as it should.
    """

    prober: str = ""
    failures: int = 0
    successes: int = 0
    first_failed_at: datetime | None = None
    detected: bool = False
    recent: str = ""
    evidence: tuple[ProbeResult, ...] = ()
    degradation: Degradation = Degradation()


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Vantages that differ about a target.

    Attributes:
        since: When that was first seen, UTC.
        failing_from: Who sees it fail.
        told: As `VantageDisagreement`, of `incident_id`.
    """

    since: datetime
    failing_from: tuple[str, ...]
    incident_id: str
    told: bool = False


class VerdictRecord(TargetVerdict, frozen=True, kw_only=True):
    """`TargetVerdict`, which everybody reads, with what only its judge needs: whoever judges the target next.

    Attributes:
        judge: Who wrote it.
        told: The failure of the incident is told, or stands in `untold`; its clearing is owed.
        first_failed_at: Of a failure that is told, UTC.
        flapping_since: While flapping, UTC.
        settled: Incidents of vantages that are accounted for and open no new one.
        degraded_incident: While degraded.
        difference: While vantages differ.
        untold: Events that may not have been stored yet, in order. They are written here *before* they are
            published and taken away after, so that no crash in between loses one; publishing them again is
            harmless, because the identity of an event follows from its incident.
    """

    judge: str = ""
    told: bool = False
    first_failed_at: datetime | None = None
    flapping_since: datetime | None = None
    settled: tuple[str, ...] = ()
    degraded_incident: str | None = None
    difference: Difference | None = None
    untold: tuple[VerdictEvent, ...] = ()


def record_key(target: str, vantage: str) -> str:
    """Key of one vantage's view of a target in the bucket `health`."""
    return f"{target}.{vantage}"


def verdict_key(target: str) -> str:
    """Key of the verdict about a target in the bucket `health`."""
    return target


def names_in(key: str) -> tuple[str, str | None]:
    """Target and vantage of a key of the bucket `health`; without a vantage it is the verdict's."""
    target, dot, vantage = key.partition(".")
    return target, vantage if dot else None


def to_record(
    state: TargetState,
    result: ProbeResult,
    identity: Identity,
    *,
    prober: str = "",
    evidence: tuple[ProbeResult, ...] = (),
    degradation: Degradation = Degradation(),  # noqa: B008 - frozen
    observed_since: datetime | None = None,
) -> HealthRecord:
    """The view to publish after `result` has been taken in."""
    incident = state.incident
    return HealthRecord(
        target=identity.target,
        kind=identity.kind,
        region=identity.region,
        vantage=identity.vantage,
        failure_type=identity.failure_type,
        state=state.health,
        since=state.since,
        checked_at=result.at,
        last=result,
        streak=max(state.failures, state.successes, 1),
        incident_id=incident.id if incident else None,
        prober=prober,
        failures=state.failures,
        successes=state.successes,
        first_failed_at=incident.first_failed_at if incident else None,
        detected=incident.detected if incident else False,
        recent=state.recent,
        evidence=incident.evidence if incident else evidence,
        degradation=degradation,
        observed_since=observed_since,
    )


def restore(record: HealthRecord, thresholds: Thresholds, now: datetime) -> TargetState:
    """The state machine as it stood when `record` was written.

    An open incident always lives on. Counts of results in a row do so only while the record is fresh: across
    a longer silence of the prober nothing is "in a row".
    """
    longest_gap = timedelta(seconds=3 * max(thresholds.interval_s, thresholds.suspect_interval_s))
    fresh = now - record.checked_at <= longest_gap
    incident = _restore_incident(record)
    health = Health(record.state)
    if incident is None and (health is not Health.HEALTHY or not fresh):
        health = Health.UNKNOWN
    return TargetState(
        target=record.target,
        vantage=record.vantage,
        health=health,
        since=record.since,
        failures=record.failures if fresh else 0,
        successes=record.successes if fresh else 0,
        incident=incident,
        last=record.last,
        recent=record.recent,
    )


def public_view(record: HealthRecord) -> TargetHealth:
    """What others are told: the view without the vantage's own memory."""
    return msgspec.convert(record, TargetHealth, from_attributes=True)


def public_verdict(record: VerdictRecord) -> TargetVerdict:
    """What others are told: the verdict without the judge's own memory."""
    return msgspec.convert(record, TargetVerdict, from_attributes=True)


def _restore_incident(record: HealthRecord) -> Incident | None:
    if record.incident_id is None:
        return None
    evidence = record.evidence
    if not evidence and record.last.status is ProbeStatus.UNHEALTHY:
        evidence = (record.last,)
    return Incident(
        id=record.incident_id,
        first_failed_at=record.first_failed_at or record.since,
        detected=record.detected or record.state == Health.FAILED,
        evidence=evidence,
    )

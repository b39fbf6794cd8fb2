"""Facts that recovery establishes beside its runs' journals."""

from datetime import datetime
from typing import ClassVar

from yaoki.epoch import Epoch
from yaoki.events.base import Event
from yaoki.events.probe import FailureDetected, FailureType
from yaoki.events.runs import StepSummary


class EscalatedToHuman(Event, frozen=True, kw_only=True):
    """Automation is at its end: a person has to act now.

    Attributes:
        severity: Always `CRITICAL`.
        required_action: Always `IMMEDIATE_MANUAL_INTERVENTION`.
        run_id: The run that was exhausted; empty when no chain exists for the failure type.
        failure: The whole failure record as it was detected.
        attempts: What was tried, in order, with results.
        reason: One sentence: why automation stopped.
        next_steps: What is safe to do now, one sentence or copyable line each.
        maintenance: Whether maintenance mode is on.
        failing_since: Since when the target has failed, UTC.
    """

    context: ClassVar[str] = "recovery"
    entity_field: ClassVar[str] = "target"

    target: str
    failure_type: FailureType
    incident_id: str
    severity: str = "CRITICAL"
    required_action: str = "IMMEDIATE_MANUAL_INTERVENTION"
    run_id: str = ""
    failure: FailureDetected
    attempts: tuple[StepSummary, ...] = ()
    reason: str
    next_steps: tuple[str, ...] = ()
    maintenance: bool = False
    failing_since: datetime | None = None
    escalated_at: datetime


class AttentionRequested(Event, frozen=True, kw_only=True):
    """People should know of a failure that automation does not repair, such as an outage of an external service.

    Attributes:
        severity: `warning` or `info`.
        run_id: The run whose chain asked for it.
        failure: The whole failure record as it was detected.
        message: What the chain's configuration adds for people.
        next_steps: What is safe to do now, one sentence or copyable line each.
    """

    context: ClassVar[str] = "recovery"
    entity_field: ClassVar[str] = "target"

    target: str
    failure_type: FailureType
    incident_id: str
    severity: str = "warning"
    run_id: str
    failure: FailureDetected
    message: str = ""
    next_steps: tuple[str, ...] = ()
    requested_at: datetime


class FailureAcknowledged(Event, frozen=True, kw_only=True):
    """A person has taken an open failure over."""

    context: ClassVar[str] = "recovery"
    entity_field: ClassVar[str] = "target"

    target: str
    failure_type: FailureType
    incident_id: str
    by: str
    comment: str = ""


class AutomationPaused(Event, frozen=True, kw_only=True):
    """A person told automation to keep its hands off.

    Attributes:
        scope: A target, or `all`.
        until: When it goes on by itself, UTC; None: when it is resumed.
    """

    context: ClassVar[str] = "recovery"
    entity_field: ClassVar[str] = "scope"

    scope: str
    by: str
    reason: str = ""
    until: datetime | None = None


class AutomationResumed(Event, frozen=True, kw_only=True):
    """A person let automation go on.

    Attributes:
        scope: A target, or `all`.
    """

    context: ClassVar[str] = "recovery"
    entity_field: ClassVar[str] = "scope"

    scope: str
    by: str
    reason: str = ""


class ClusterEvent(Event, frozen=True, kw_only=True):
    """Something about a database cluster. `epoch` is that of the leader or holder who caused it."""

    context: ClassVar[str] = "recovery"
    entity_field: ClassVar[str] = "cluster"

    cluster: str
    member: str
    epoch: Epoch


class PrimaryPromoted(ClusterEvent, frozen=True, kw_only=True):
    """A standby became the primary and proved it by a committed write.

    Attributes:
        previous: The primary before, or empty.
        timeline: Timeline after promotion (PostgreSQL).
        lag_bytes: What the candidate lacked of the last position known of the old primary.
    """

    previous: str = ""
    timeline: int = 0
    lag_bytes: int = 0


class DurabilityDegraded(ClusterEvent, frozen=True, kw_only=True):
    """The primary now acknowledges commits with fewer synchronous standbys than configured.

    Attributes:
        wanted: Synchronous standbys configured.
        present: Synchronous standbys there are.
    """

    wanted: int
    present: int


class DurabilityRestored(ClusterEvent, frozen=True, kw_only=True):
    """The configured number of synchronous standbys acknowledges commits again."""

    wanted: int


class MemberRejoined(ClusterEvent, frozen=True, kw_only=True):
    """A member follows the primary again.

    Attributes:
        method: `stream` (nothing was needed), `rewind` or `clone`.
    """

    method: str

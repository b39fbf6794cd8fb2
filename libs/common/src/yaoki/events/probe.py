"""Facts that health probes establish about targets."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import msgspec

from yaoki.events.base import Event


class FailureType(StrEnum):
    """What kind of failure a target has; recovery chooses its chain by it."""

    DATABASE_CONNECTION = "database_connection"
    REDIS_CONNECTION = "redis_connection"
    EXTERNAL_SERVICE = "external_service"
    HIGH_MEMORY_USAGE = "high_memory_usage"
    HIGH_CPU_USAGE = "high_cpu_usage"
    DISK_FULL = "disk_full"
    ERROR_RATE = "error_rate"
    RESPONSE_TIME = "response_time"
    REPLICATION_LAG = "replication_lag"
    STORAGE = "storage"
    NETWORK_PARTITION = "network_partition"
    BACKUP_STALE = "backup_stale"
    HEARTBEAT_MISSED = "heartbeat_missed"


class ProbeStatus(StrEnum):
    """Outcome of one probe. Unknown is not healthy."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class ErrorClass(StrEnum):
    """Why a probe failed. `local` means the prober itself is at fault; it never counts against a target."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    AUTH = "auth"
    DNS = "dns"
    TLS = "tls"
    PROTOCOL = "protocol"
    CAPACITY = "capacity"
    LOCAL = "local"


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of one probe run.

    Attributes:
        status: The verdict of this one run.
        at: When the run ended, UTC.
        response_ms: Time from start to verdict, milliseconds.
        error_class: Set unless healthy.
        detail: One sentence for people; never a secret.
        phase: Where it stopped, e.g. `connect`, `login`, `query`.
        facts: What was measured beside the verdict, e.g. `{"lag_bytes": 0, "timeline": 2}`.
    """

    status: ProbeStatus
    at: datetime
    response_ms: float
    error_class: ErrorClass | None = None
    detail: str = ""
    phase: str = ""
    facts: dict[str, str | int | float | bool | None] = {}


class Ballot(StrEnum):
    """What one vantage's newest view of a target counts for. Only `failed` and `well` count towards a verdict.

    `unknown`: nothing is known, or no longer, or the prober itself is at fault. `recovering`: it answers again, but not
    often enough in a row.
    """

    WELL = "well"
    SUSPECT = "suspect"
    FAILED = "failed"
    RECOVERING = "recovering"
    FLAPPING = "flapping"
    UNKNOWN = "unknown"


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """How one vantage sees a target.

    Attributes:
        checked_at: End of the probe behind it, UTC; None when there is none.
        error_class: Of that probe, where it failed.
        detail: Of that probe; one sentence for people.
    """

    vantage: str
    ballot: Ballot
    checked_at: datetime | None = None
    error_class: ErrorClass | None = None
    detail: str = ""


class ProbeEvent(Event, frozen=True, kw_only=True):
    """What all probe events say.

    Attributes:
        target: Name of the target in the configuration.
        target_kind: Probe kind, e.g. `postgres`.
        region: Region that the installation speaks for.
        vantage: Vantage that saw the `evidence`.
        failure_type: What kind of failure it is (or would be).
        incident_id: One identity from suspicion to clear; recovery, notifications and DR carry it on.
        evidence: The newest results of that vantage that led to this, oldest first.
        votes: How every vantage of the target saw it at that moment.
    """

    context: ClassVar[str] = "probe"
    entity_field: ClassVar[str] = "target"

    target: str
    target_kind: str
    region: str
    vantage: str
    failure_type: FailureType
    incident_id: str
    evidence: tuple[ProbeResult, ...] = ()
    votes: tuple[Vote, ...] = ()


class TargetSuspected(ProbeEvent, frozen=True, kw_only=True):
    """A first probe failed; the target is probed faster until it is cleared or failed."""


class FailureDetected(ProbeEvent, frozen=True, kw_only=True):
    """Enough probes in a row failed, as seen by a quorum of vantages: the target is down.

    Attributes:
        first_failed_at: Since when the quorum has seen it fail: end of a failing probe, UTC.
        failures: How many failed in a row, as seen by `vantage`.
    """

    first_failed_at: datetime
    failures: int


class FailureCleared(ProbeEvent, frozen=True, kw_only=True):
    """Enough probes in a row succeeded, as seen by so many vantages that no quorum can see a failure any more.

    Attributes:
        down_since: When the first failing probe ended, UTC.
        downtime_s: Seconds from `down_since` to the last success that cleared it.
    """

    down_since: datetime
    downtime_s: float


class TargetDegraded(ProbeEvent, frozen=True, kw_only=True):
    """The target works, but worse than it should: so many results in a row say so, as seen by a quorum of vantages.

    Attributes:
        since: When the first of them ended, UTC.
    """

    since: datetime


class DegradationEnded(ProbeEvent, frozen=True, kw_only=True):
    """The target is no longer degraded: it is as it should be, or it has failed.

    Attributes:
        since: Of the `TargetDegraded` that has the same incident, UTC.
    """

    since: datetime


class VantageDisagreement(ProbeEvent, frozen=True, kw_only=True):
    """Some vantages have seen the target fail for longer than `probe.disagreement_after`, but no quorum did.

    Attributes:
        since: Since when they differ, UTC.
        failing_from: Vantages that see it fail.
    """

    since: datetime
    failing_from: tuple[str, ...]


class VantageAgreement(ProbeEvent, frozen=True, kw_only=True):
    """The vantages no longer differ: none sees the target fail, or a quorum does.

    Attributes:
        since: Of the `VantageDisagreement` that has the same incident, UTC.
    """

    since: datetime


class TargetFlapping(ProbeEvent, frozen=True, kw_only=True):
    """The target goes up and down too often: nothing more is told of it until it is steady.

    A failure that was detected before stays open; whatever acts on failures keeps its hands off.

    Attributes:
        since: Since when, UTC.
        failed: A failure of this incident was detected and is not cleared.
        share: Of changes among the newest results, 0 to 1, as seen by `vantage`.
    """

    since: datetime
    failed: bool
    share: float


class FlappingStopped(ProbeEvent, frozen=True, kw_only=True):
    """The target is steady again; the failure or clearing that is due is told beside this.

    Attributes:
        since: Of the `TargetFlapping` that has the same incident, UTC.
        failed: A failure of this incident was detected and is not cleared yet.
    """

    since: datetime
    failed: bool


class ProberImpaired(Event, frozen=True, kw_only=True):
    """A prober is not well itself; until `ProberRestored` all that it sees counts as unknown.

    Attributes:
        prober: Who.
        vantage: From where it looks.
        since: UTC, by its own clock.
        reasons: One sentence each.
    """

    context: ClassVar[str] = "probe"
    entity_field: ClassVar[str] = "prober"

    prober: str
    vantage: str
    since: datetime
    reasons: tuple[str, ...]


class ProberRestored(Event, frozen=True, kw_only=True):
    """A prober is well again and gives verdicts.

    Attributes:
        since: Of the `ProberImpaired` that this ends.
        impaired_s: How long that lasted, seconds on a clock that does not jump.
    """

    context: ClassVar[str] = "probe"
    entity_field: ClassVar[str] = "prober"

    prober: str
    vantage: str
    since: datetime
    impaired_s: float

"""What kinds of disaster there are, and how soon and how completely each has to be over. Pure values."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class DisasterClass(StrEnum):
    """What has happened, as far as the evidence tells."""

    DATABASE_CORRUPTION = "database_corruption"
    DATABASE_OUTAGE = "database_outage"
    DATA_CENTER_FAILURE = "data_center_failure"
    COMPLETE_SYSTEM_FAILURE = "complete_system_failure"
    CYBER_ATTACK = "cyber_attack"
    STORAGE_FAILURE = "storage_failure"
    NETWORK_PARTITION = "network_partition"
    PARTIAL_CLUSTER_FAILURE = "partial_cluster_failure"
    MASSIVE_CLUSTER_FAILURE = "massive_cluster_failure"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """How bad it is; decides the objectives."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Objectives(msgspec.Struct, frozen=True, kw_only=True):
    """What is promised for a severity.

    Attributes:
        rto_s: From the detection to the verified end, seconds.
        rpo_s: From the moment that the restored data shows to the failure, seconds.
    """

    rto_s: float
    rpo_s: float


_MINUTE_S = 60.0
_HOUR_S = 3600.0

OBJECTIVES: dict[Severity, Objectives] = {
    Severity.CRITICAL: Objectives(rto_s=_HOUR_S, rpo_s=15 * _MINUTE_S),
    Severity.HIGH: Objectives(rto_s=4 * _HOUR_S, rpo_s=_HOUR_S),
    Severity.MEDIUM: Objectives(rto_s=8 * _HOUR_S, rpo_s=4 * _HOUR_S),
    Severity.LOW: Objectives(rto_s=24 * _HOUR_S, rpo_s=8 * _HOUR_S),
}

"""Events as they stand in the stream, for tests of the classification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from yaoki.dr.evidence import Component, Observed
from yaoki.events.backup import (
    BackupCompleted,
    BackupFailed,
    BackupFailureClass,
    BackupVerificationFailed,
    BackupVerified,
    VerificationStage,
)
from yaoki.events.probe import (
    ErrorClass,
    FailureCleared,
    FailureDetected,
    FailureType,
    ProbeResult,
    ProbeStatus,
    VantageAgreement,
    VantageDisagreement,
)
from yaoki.events.recovery import EscalatedToHuman

if TYPE_CHECKING:
    from yaoki.events import Event

BEGAN = datetime(2030, 1, 1, tzinfo=UTC)
DATABASE = FailureType.DATABASE_CONNECTION


def components(*names: str) -> tuple[Component, ...]:
    """`tokyo/orders-db` and the like; what ends in `-db` is a database."""
    return tuple(
        Component(name=name, kind="postgres" if name.endswith("-db") else "http", region=region)
        for region, _, name in (one.partition("/") for one in names)
    )


def observed(*events: Event) -> list[Observed]:
    """In this order, a second apart."""
    return [
        Observed(sequence=number, at=BEGAN + timedelta(seconds=number), event=event)
        for number, event in enumerate(events, 1)
    ]


def failed(
    target: str, kind: FailureType = FailureType.ERROR_RATE, error: ErrorClass = ErrorClass.REFUSED
) -> FailureDetected:
    """A failure with what its newest probe saw."""
    result = ProbeResult(status=ProbeStatus.UNHEALTHY, at=BEGAN, response_ms=1.0, error_class=error)
    return FailureDetected(**_probed(target, kind), evidence=(result,), first_failed_at=BEGAN, failures=3)


def cleared(target: str, kind: FailureType = FailureType.ERROR_RATE) -> FailureCleared:
    """The end of `failed`."""
    return FailureCleared(**_probed(target, kind), down_since=BEGAN, downtime_s=1.0)


def differing(target: str) -> VantageDisagreement:
    """Some vantages see it fail."""
    return VantageDisagreement(**_probed(target, FailureType.ERROR_RATE), since=BEGAN, failing_from=("elsewhere",))


def agreeing(target: str) -> VantageAgreement:
    """The end of `differing`."""
    return VantageAgreement(**_probed(target, FailureType.ERROR_RATE), since=BEGAN)


def escalated(target: str, kind: FailureType = FailureType.ERROR_RATE) -> EscalatedToHuman:
    """Recovery is at its end with it."""
    failure = failed(target, kind)
    return EscalatedToHuman(
        target=target,
        failure_type=kind,
        incident_id=failure.incident_id,
        failure=failure,
        reason="every branch failed",
        escalated_at=BEGAN,
    )


def backup_failed(target: str, failure: BackupFailureClass) -> BackupFailed:
    """A database could not be backed up."""
    return BackupFailed(**_backed_up(target), failure=failure, message="it failed", advice="try again", failed_at=BEGAN)


def backup_completed(target: str) -> BackupCompleted:
    """The end of `backup_failed`."""
    return BackupCompleted(
        **_backed_up(target),
        started_at=BEGAN,
        consistent_at=BEGAN,
        completed_at=BEGAN,
        duration_s=1.0,
        plain_bytes=1,
        stored_bytes=1,
    )


def broken(target: str, stage: VerificationStage, *, conclusive: bool = True) -> BackupVerificationFailed:
    """A backup that could not be proven."""
    return BackupVerificationFailed(
        **_backed_up(target),
        stage=stage,
        conclusive=conclusive,
        failure=BackupFailureClass.VERIFICATION,
        message="it differs",
        advice="look at it",
        failed_at=BEGAN,
    )


def verified(target: str) -> BackupVerified:
    """The end of `broken`."""
    return BackupVerified(**_backed_up(target), stages=(), rto_s=1.0, verify_s=1.0, verified_at=BEGAN)


def _probed(target: str, kind: FailureType) -> dict[str, Any]:
    return {
        "target": target,
        "target_kind": "http",
        "region": "local",
        "vantage": "local",
        "failure_type": kind,
        "incident_id": f"incident-{target}-{kind.value}",
    }


def _backed_up(target: str) -> dict[str, Any]:
    return {"backup_id": f"backup-{target}", "target": target, "kind": "postgres-logical", "repository": "main"}

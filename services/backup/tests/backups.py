"""Backups that were never taken, as manifests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backup.manifest import Manifest, SourceFacts, StoredObject, StoredStream, VerifyRecord, new_backup_id
from yaoki.events.backup import VerificationStage

START = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)


def manifest(at: datetime = START, *, target: str = "orders", salt: int = 1, schedule: str = "daily") -> Manifest:
    """A backup of one object `data.000`."""
    data = StoredObject(name="data.000", size=5, sha256="0" * 64)
    return Manifest(
        backup_id=new_backup_id(at, salt.to_bytes(4, "big")),
        target=target,
        kind="files",
        backup_class="standard",
        workspace="default",
        schedule=schedule,
        instance="backup-1",
        started_at=at,
        completed_at=at + timedelta(minutes=1),
        recipients=("age1test",),
        streams=(StoredStream(name="data", plain_size=9, plain_sha256="1" * 64, objects=(data,)),),
        source=SourceFacts(consistent_at=at),
    )


def record(of: Manifest, at: datetime, *, passed: bool = True, conclusive: bool = True) -> VerifyRecord:
    """What a verification found."""
    return VerifyRecord(
        backup_id=of.backup_id,
        verified_at=at,
        instance="backup-1",
        conclusive=conclusive,
        stages=tuple(VerificationStage) if passed else (),
        failed_stage=None if passed else VerificationStage.STORED_BYTES,
        rto_s=1.5 if passed else None,
    )

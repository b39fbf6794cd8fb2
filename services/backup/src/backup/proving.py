"""Verifies and restores backups on the order of people and schedules, and says what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yaoki.errors import ErrorCode, RejectedError
from yaoki.events.backup import (
    BackupFailureClass,
    BackupVerificationFailed,
    BackupVerified,
    RestoreCompleted,
    RestoreFailed,
    RestoreStarted,
    VerificationStage,
)
from yaoki.telemetry import get_logger

from backup import metrics
from backup.comparing import differences
from backup.errors import BackupError, RestoreFailedError
from backup.stored import StoredBackup
from backup.verifying import Assertion, Verifying

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.messaging.ports import EventPublisher

    from backup.desk import Target
    from backup.kinds import RestoreChoices
    from backup.pipeline.codec import Identity
    from backup.repository import Entry
    from backup.verifying import Verification

_log = get_logger(__name__)
_ID_LENGTH: Final = 8


class ProvingDesk:
    """Reads backups back.

    Args:
        identities: Private keys; empty on a host that only takes backups.
        publisher: For events.
        clock: For times.
        instance: Name of this process.
    """

    def __init__(self, *, identities: list[Identity], publisher: EventPublisher, clock: Clock, instance: str) -> None:
        self._identities = identities
        self._publisher = publisher
        self._clock = clock
        self._instance = instance

    @property
    def able(self) -> bool:
        """Whether this process holds a key at all."""
        return bool(self._identities)

    async def find(self, target: Target, backup_id: str = "") -> Entry:
        """A backup that exists, the newest that is not broken when none is named.

        Raises:
            RejectedError: There is none, or this process holds no key; says which there are.
        """
        if not self.able:
            raise RejectedError(
                "this instance holds no age identity: set backup.identity on a host that verifies and restores",
                code=ErrorCode.PRECONDITION,
            )
        catalogue = await target.repository.catalogue(target.name)
        usable = [entry for entry in catalogue.entries if not entry.broken]
        entry = catalogue.find(backup_id) if backup_id else (usable[-1] if usable else None)
        if entry is None:
            wanted = backup_id[:64] or "that is not broken"
            known = ", ".join(one.manifest.backup_id for one in catalogue.entries[-5:]) or "none"
            raise RejectedError(
                f"target {target.name!r} has no backup {wanted}; the newest are: {known}",
                code=ErrorCode.NOT_FOUND,
            )
        return entry

    async def verify(self, target: Target, entry: Entry, order_id: str) -> Verification:
        """Prove a backup, keep what was found beside it, and say so."""
        manifest = entry.manifest
        verifying = Verifying(target.kind.rehearsal, self._clock, self._instance)
        assertions = [
            Assertion(name=one.name, question=one.question, expect=one.expect) for one in target.config.assertions
        ]
        found = await verifying.verify(StoredBackup(target.repository, manifest, self._identities), assertions)
        await target.repository.record(manifest, found.record)
        about = {
            "backup_id": manifest.backup_id,
            "target": manifest.target,
            "kind": manifest.kind,
            "repository": target.repository.name,
        }
        record = found.record
        event: BackupVerified | BackupVerificationFailed
        if record.passed:
            metrics.LAST_VERIFIED.labels(target.name).set(record.verified_at.timestamp())
            metrics.RTO.labels(target.name).set(record.rto_s or 0.0)
            event = BackupVerified(
                **about,
                stages=record.stages,
                rto_s=record.rto_s or 0.0,
                verify_s=sum(record.durations_s.values()),
                tables=len(manifest.source.contents),
                rows=manifest.rows,
                verified_at=record.verified_at,
            )
        else:
            event = BackupVerificationFailed(
                **about,
                stage=record.failed_stage or VerificationStage.STORED_BYTES,
                conclusive=record.conclusive,
                failure=found.failure or BackupFailureClass.VERIFICATION,
                message=record.message,
                advice=found.advice,
                failed_at=record.verified_at,
            )
        _log.info("backup verified", target=target.name, backup=manifest.backup_id, passed=record.passed)
        await self._publisher.publish(event, event_id=f"{order_id}.{event.event_name()}")
        return found

    async def restore(
        self, target: Target, entry: Entry, *, order_id: str, by: str, swap: bool, choices: RestoreChoices
    ) -> None:
        """Restore beside what is live, compare, exchange if asked to, and say what came of it.

        May be repeated for the same order: a copy that was left half-way is made anew, one that has taken its place
        stays there.
        """
        identity = order_id.replace("-", "")[-_ID_LENGTH:]
        restorer = target.kind.restorer
        about = {
            "restore_id": f"restore-{order_id}",
            "backup_id": entry.manifest.backup_id,
            "target": target.name,
            "repository": target.repository.name,
        }
        started = RestoreStarted(**about, by=by, into=restorer.into(identity), started_at=self._clock.now())
        await self._publisher.publish(started, event_id=f"{order_id}.{started.event_name()}")
        try:
            event = await self._restored(target, entry, identity, about, choices=choices, swap=swap)
        except BackupError as error:
            _log.warning("restore failed", target=target.name, backup=entry.manifest.backup_id, error=error.message)
            failed = RestoreFailed(
                **about,
                failure=error.failure,
                message=error.message,
                advice=error.advice,
                failed_at=self._clock.now(),
            )
            await self._publisher.publish(failed, event_id=f"{order_id}.{failed.event_name()}")
        else:
            await self._publisher.publish(event, event_id=f"{order_id}.{event.event_name()}")

    async def _restored(
        self, target: Target, entry: Entry, identity: str, about: dict[str, str], *, choices: RestoreChoices, swap: bool
    ) -> RestoreCompleted:
        restorer, manifest = target.kind.restorer, entry.manifest
        backup = StoredBackup(target.repository, manifest, self._identities)
        began = self._clock.monotonic()
        kept = await restorer.swapped(identity) if swap else ""
        restored_at = compared_at = began
        if not kept:
            await restorer.restore(backup, identity, choices)
            restored_at = self._clock.monotonic()
            await self._compare(target, backup, identity)
            compared_at = self._clock.monotonic()
            kept = await restorer.swap(identity) if swap else ""
        return RestoreCompleted(
            **about,
            into=restorer.into(identity) if not swap else target.name,
            kept=kept,
            swapped=swap,
            restore_s=round(restored_at - began, 3),
            verify_s=round(compared_at - restored_at, 3),
            tables=len(manifest.source.contents),
            rows=manifest.rows,
            completed_at=self._clock.now(),
        )

    async def _compare(self, target: Target, backup: StoredBackup, identity: str) -> None:
        restorer = target.kind.restorer
        found = differences(backup.manifest.source.contents, await restorer.contents(backup, identity))
        if found:
            await restorer.discard(identity)
            raise RestoreFailedError(
                f"the restored copy is another one: {found[0]}" + (f" and {len(found) - 1} more" if found[1:] else ""),
                advice="Restore from another backup; verify this one.",
            )

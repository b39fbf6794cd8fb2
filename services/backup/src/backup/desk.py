"""Takes, verifies and restores backups, and says so: the use cases of the service."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from yaoki.errors import ErrorCode, RejectedError
from yaoki.events.backup import BackupCompleted, BackupFailed, BackupFailureClass, BackupSkipped, BackupStarted
from yaoki.telemetry import get_logger

from backup import metrics
from backup.attempts import Attempt
from backup.errors import BackupError
from backup.manifest import Manifest, new_backup_id
from backup.taking import Assignment, Taking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from yaoki.clock import Clock
    from yaoki.config.backup import BackupTarget
    from yaoki.events.backup import BackupEvent
    from yaoki.messaging.ports import EventPublisher

    from backup.attempts import Attempts
    from backup.kinds import Kind
    from backup.ports import Hooks
    from backup.repository import Repository

T = TypeVar("T")

_log = get_logger(__name__)
_ADVICE_AGAIN: Final = "Take the backup again; what the interrupted one left was removed."


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One target of the configuration with everything that works on it."""

    name: str
    config: BackupTarget
    kind: Kind
    repository: Repository
    hooks: Hooks


class TakeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is taken for.

    Attributes:
        order_id: A repeat of the same order finds what was taken.
        due_at: When a schedule wanted it; None for a person's order.
    """

    order_id: str
    by: str = ""
    schedule: str = ""
    due_at: datetime | None = None


class BackupDesk:
    """Takes backups.

    Args:
        targets: By name.
        recipients: Public keys.
        attempts: One process at a time for each target.
        publisher: For events.
        clock: For times.
        instance: Name of this process.
        locked_until: What the store of a repository promises for objects that are written now.
        progress: Told target, backup and bytes of each part that is stored.
    """

    def __init__(
        self,
        targets: Mapping[str, Target],
        *,
        recipients: tuple[str, ...],
        attempts: Attempts,
        publisher: EventPublisher,
        clock: Clock,
        instance: str,
        locked_until: Callable[[str], datetime | None] = lambda _repository: None,
        progress: Callable[[Target, str, int], None] = lambda _target, _backup_id, _size: None,
    ) -> None:
        self._targets = targets
        self._recipients = recipients
        self._attempts = attempts
        self._publisher = publisher
        self._clock = clock
        self._instance = instance
        self._locked_until = locked_until
        self._progress = progress

    def expect(self, name: str) -> Target:
        """The target called `name`.

        Raises:
            RejectedError: There is none; names those that there are.
        """
        if name not in self._targets:
            known = ", ".join(sorted(self._targets)) or "none"
            raise RejectedError(
                f"target {name[:64]!r} is not under backup.targets; there are: {known}",
                code=ErrorCode.NOT_FOUND,
            )
        return self._targets[name]

    async def take(self, target: Target, order: TakeOrder) -> Manifest | None:
        """Take one backup and say what became of it; None when there is none. May be repeated for the same order."""
        async with self._attempts.on(target.name) as mine:
            if not mine:
                await self._skipped(target, order)
                return None
            await self.settle(target)
            done = await self._taken_for(target, order.order_id)
            if done is not None:
                return done
            return await self._attempt(target, order)

    async def settle(self, target: Target) -> None:
        """Say what became of a backup whose process has died, and remove what it left. The target is held."""
        for attempt in await self._attempts.unfinished(target.name):
            if attempt.target != target.name:
                continue
            cleared = await target.repository.clear(
                target=attempt.target, kind=attempt.kind, backup_id=attempt.backup_id
            )
            await self._after(target, attempt.backup_id, "cancelled" if cleared else "completed")
            if cleared:
                error = BackupError(
                    f"the process {attempt.instance} that took it has ended",
                    advice=_ADVICE_AGAIN,
                    failure=BackupFailureClass.CANCELLED,
                )
                await self._failed(attempt, error)
            else:  # it died between its manifest and saying so
                entry = (await target.repository.catalogue(target.name)).find(attempt.backup_id)
                if entry is not None:
                    await self._completed(target, entry.manifest)
            await self._attempts.end(target.name)

    async def _attempt(self, target: Target, order: TakeOrder) -> Manifest | None:
        now = self._clock.now()
        attempt = Attempt(
            backup_id=new_backup_id(now, os.urandom(4)),
            target=target.name,
            kind=target.kind.source.kind,
            repository=target.repository.name,
            instance=self._instance,
            schedule=order.schedule,
            order_id=order.order_id,
            started_at=now,
        )
        await self._attempts.begin(attempt)
        await self._say(
            BackupStarted(
                **_about(attempt), schedule=order.schedule, by=order.by, instance=self._instance, started_at=now
            )
        )
        try:
            manifest = await self._between_hooks(target, attempt)
        except BackupError as error:
            await self._failed(attempt, error)
            await self._attempts.end(target.name)
            return None
        await self._completed(target, manifest)
        await self._attempts.end(target.name)
        return manifest

    async def _between_hooks(self, target: Target, attempt: Attempt) -> Manifest:
        """Take it; whatever becomes of it, the hook after it runs. A killed process leaves that to `settle`."""
        outcome = "cancelled"
        try:
            await target.hooks.before(attempt.backup_id)
            manifest = await self._taking(target).take(target.kind.source, self._assignment(target, attempt))
            outcome = "completed"
        except BackupError:
            outcome = "failed"
            raise
        finally:
            await self._after(target, attempt.backup_id, outcome)
        return manifest

    async def _after(self, target: Target, backup_id: str, outcome: str) -> None:
        try:
            await target.hooks.after(backup_id, outcome)
        except BackupError as error:
            metrics.HOOKS_AFTER_FAILED.labels(target.name).inc()
            _log.error("hook after the backup failed", target=target.name, backup=backup_id, error=error.message)

    def _taking(self, target: Target) -> Taking:
        def progress(backup_id: str, size: int) -> None:
            metrics.UPLOADED.labels(target.name).inc(size)
            self._progress(target, backup_id, size)

        return Taking(target.repository, self._clock, progress)

    def _assignment(self, target: Target, attempt: Attempt) -> Assignment:
        return Assignment(
            backup_id=attempt.backup_id,
            target=target.name,
            backup_class=target.config.importance,
            workspace=target.config.workspace,
            schedule=attempt.schedule,
            order_id=attempt.order_id,
            instance=self._instance,
            recipients=self._recipients,
            rate=target.config.rate,
            locked_until=self._locked_until(target.config.repository),
        )

    async def _taken_for(self, target: Target, order_id: str) -> Manifest | None:
        for entry in (await target.repository.catalogue(target.name)).entries:
            if entry.manifest.order_id == order_id:
                await self._completed(target, entry.manifest)
                return entry.manifest
        return None

    async def _completed(self, target: Target, manifest: Manifest) -> None:
        before = [
            entry.manifest.source.consistent_at
            for entry in (await target.repository.catalogue(target.name)).entries
            if entry.manifest.source.consistent_at < manifest.source.consistent_at
        ]
        achieved = (manifest.source.consistent_at - before[-1]).total_seconds() if before else None
        duration_s = (manifest.completed_at - manifest.started_at).total_seconds()
        await self._say(
            BackupCompleted(
                backup_id=manifest.backup_id,
                target=manifest.target,
                kind=manifest.kind,
                repository=target.repository.name,
                started_at=manifest.started_at,
                consistent_at=manifest.source.consistent_at,
                completed_at=manifest.completed_at,
                duration_s=duration_s,
                plain_bytes=manifest.plain_size,
                stored_bytes=manifest.stored_size,
                tables=len(manifest.source.contents),
                rows=manifest.rows,
                rpo_achieved_s=achieved,
            )
        )
        metrics.LAST_SUCCESS.labels(target.name).set(manifest.completed_at.timestamp())
        metrics.SIZE.labels(target.name).set(manifest.stored_size)
        metrics.DURATION.labels(target.name).set(duration_s)
        _log.info("backup completed", target=target.name, backup=manifest.backup_id, bytes=manifest.stored_size)

    async def _failed(self, attempt: Attempt, error: BackupError) -> None:
        metrics.FAILURES.labels(attempt.target, error.failure.value).inc()
        _log.warning("backup failed", target=attempt.target, backup=attempt.backup_id, error=error.message)
        await self._say(
            BackupFailed(
                **_about(attempt),
                failure=error.failure,
                message=error.message,
                advice=error.advice,
                failed_at=self._clock.now(),
            )
        )

    async def _skipped(self, target: Target, order: TakeOrder) -> None:
        running = [one for one in await self._attempts.unfinished(target.name) if one.target == target.name]
        _log.warning("backup skipped: another one is being taken", target=target.name, schedule=order.schedule)
        for attempt in running:
            event = BackupSkipped(**_about(attempt), schedule=order.schedule, due_at=order.due_at or self._clock.now())
            await self._publisher.publish(event, event_id=f"{order.order_id}.{event.event_name()}")

    async def _say(self, event: BackupEvent) -> None:
        await self._publisher.publish(event, event_id=f"{event.backup_id}.{event.event_name()}")


def _about(attempt: Attempt) -> dict[str, str]:
    return {
        "backup_id": attempt.backup_id,
        "target": attempt.target,
        "kind": attempt.kind,
        "repository": attempt.repository,
    }

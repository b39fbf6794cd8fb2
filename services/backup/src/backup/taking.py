"""Takes one backup: reads a source, stores its streams, and writes the manifest last."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
from yaoki import faults

from backup.manifest import Manifest
from backup.pipeline.codec import DEFAULT_LEVEL, recipients_of
from backup.pipeline.patience import PATIENCE_S, Patience, Throttle
from backup.pipeline.sealing import seal
from backup.pipeline.uploading import StreamUpload

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from yaoki.clock import Clock

    from backup.manifest import StoredStream
    from backup.ports import Capture, Source
    from backup.repository import Repository


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Which backup to take.

    Attributes:
        backup_id: Of `manifest.new_backup_id`.
        target: Name in the configuration.
        recipients: Public keys that will be able to read it.
        rate: Most bytes a second towards the store; None for no limit.
        locked_until: What the store promises; None without an object lock.
    """

    backup_id: str
    target: str
    backup_class: str = "standard"
    workspace: str = "default"
    schedule: str = ""
    order_id: str = ""
    instance: str
    recipients: tuple[str, ...]
    level: int = DEFAULT_LEVEL
    rate: int | None = None
    patience_s: float = PATIENCE_S
    locked_until: datetime | None = None


class Taking:
    """Takes backups into one repository.

    Args:
        repository: Where to.
        clock: For times and waiting.
        progress: Told the bytes of each part that is stored, with the backup's identity.
    """

    def __init__(
        self,
        repository: Repository,
        clock: Clock,
        progress: Callable[[str, int], None] = lambda _backup_id, _size: None,
    ) -> None:
        self._repository = repository
        self._clock = clock
        self._progress = progress

    async def take(self, source: Source, assignment: Assignment) -> Manifest:
        """Return when the backup exists.

        Raises:
            BackupError: It does not exist, and what was stored is removed as far as the store answers.
        """
        started_at = self._clock.now()
        recipients_of(assignment.recipients)  # before anything is read
        async with source.capture() as capture:
            streams = [await self._store(source, capture, name, assignment) for name in capture.streams]
            facts = await capture.facts()
        manifest = Manifest(
            backup_id=assignment.backup_id,
            target=assignment.target,
            kind=source.kind,
            backup_class=assignment.backup_class,
            workspace=assignment.workspace,
            schedule=assignment.schedule,
            order_id=assignment.order_id,
            instance=assignment.instance,
            started_at=started_at,
            completed_at=self._clock.now(),
            recipients=assignment.recipients,
            streams=tuple(streams),
            source=facts,
            locked_until=assignment.locked_until,
        )
        faults.point("backup.before-manifest")
        patience = Patience(self._clock, assignment.patience_s)
        await patience.over(lambda: self._repository.publish(manifest))
        faults.point("backup.after-manifest")
        return manifest

    async def _store(self, source: Source, capture: Capture, name: str, assignment: Assignment) -> StoredStream:
        backup_id = assignment.backup_id
        upload = StreamUpload(
            self._repository.store,
            directory=self._repository.directory(target=assignment.target, kind=source.kind, backup_id=backup_id),
            stream=name,
            patience=Patience(self._clock, assignment.patience_s),
            throttle=Throttle(self._clock, assignment.rate),
            progress=lambda size: self._progress(backup_id, size),
        )
        recipients = recipients_of(assignment.recipients)
        async with aclosing(capture.stream(name)) as source_bytes:
            return await seal(source_bytes, upload, name=name, recipients=recipients, level=assignment.level)

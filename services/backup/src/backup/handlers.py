"""What the backup service does about each message: typed message in, one use case called, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
from yaoki.commands.backup import (
    BackupList,
    BackupOrdered,
    BackupView,
    ListBackups,
    PlanRetention,
    RestoreBackup,
    RetentionPlan,
    RetentionVerdict,
    TakeBackup,
    VerifyBackup,
)
from yaoki.errors import ErrorCode, RejectedError
from yaoki.subjects import token

from backup.desk import TakeOrder
from backup.kinds import RestoreChoices
from backup.retention import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.clock import Clock, IdSource
    from yaoki.commands.base import Request
    from yaoki.messaging.ports import Envelope, Published
    from yaoki.subjects import Subjects

    from backup.attempts import Attempts
    from backup.desk import BackupDesk, Target
    from backup.proving import ProvingDesk
    from backup.repository import Entry


class OrderStore(Protocol):
    """Keeps durable orders until they are carried out."""

    async def order(self, request: Request, *, message_id: str) -> Published:
        """Store an order once for each id."""
        ...


class BackupHandlers:
    """`api.backup.*` and `cmd.backup.*`."""

    def __init__(
        self,
        *,
        desk: BackupDesk,
        proving: ProvingDesk,
        attempts: Attempts,
        orders: OrderStore,
        subjects: Subjects,
        clock: Clock,
        ids: IdSource,
        zone: Callable[[Target], str],
    ) -> None:
        self._desk = desk
        self._proving = proving
        self._attempts = attempts
        self._orders = orders
        self._subjects = subjects
        self._clock = clock
        self._ids = ids
        self._zone = zone

    async def take(self, request: TakeBackup) -> BackupOrdered:
        """Check an order and store it. Nothing is done yet when this answers."""
        self._desk.expect(request.target)
        if await self._attempts.busy(request.target):
            raise RejectedError(
                f"target {request.target!r} is being backed up; wait for its end: "
                f"nats sub '{self._subjects.events('backup')}'",
                code=ErrorCode.CONFLICT,
            )
        return await self._ordered(request)

    async def on_take_ordered(self, order: TakeBackup, envelope: Envelope) -> None:
        """Carry a stored order out."""
        wanted = TakeOrder(
            order_id=_order_id(order.order_id, envelope),
            by=order.by,
            schedule=order.schedule,
            due_at=envelope.time if order.schedule else None,
        )
        target = self._desk.expect(order.target)
        manifest = await self._desk.take(target, wanted)
        if manifest is not None and target.config.importance == "critical" and self._proving.able:
            entry = await self._proving.find(target, manifest.backup_id)
            await self._proving.verify(target, entry, wanted.order_id)

    async def list(self, request: ListBackups) -> BackupList:
        """Every backup of a target, from the repository itself."""
        target = self._desk.expect(request.target)
        catalogue = await target.repository.catalogue(target.name)
        return BackupList(
            backups=tuple(_view(entry, target.repository.name) for entry in catalogue.entries),
            problems=catalogue.problems,
        )

    async def verify(self, request: VerifyBackup) -> BackupOrdered:
        """Check an order and store it."""
        entry = await self._proving.find(self._desk.expect(request.target), request.backup_id)
        return await self._ordered(msgspec.structs.replace(request, backup_id=entry.manifest.backup_id))

    async def on_verify_ordered(self, order: VerifyBackup, envelope: Envelope) -> None:
        """Carry a stored order out."""
        target = self._desk.expect(order.target)
        entry = await self._proving.find(target, order.backup_id)
        await self._proving.verify(target, entry, _order_id(order.order_id, envelope))

    async def restore(self, request: RestoreBackup) -> BackupOrdered:
        """Check an order and store it; the confirmation has to name target and backup."""
        await self._confirmed(request)
        return await self._ordered(request)

    async def on_restore_ordered(self, order: RestoreBackup, envelope: Envelope) -> None:
        """Carry a stored order out."""
        entry = await self._confirmed(order)
        await self._proving.restore(
            self._desk.expect(order.target),
            entry,
            order_id=_order_id(order.order_id, envelope),
            by=order.by,
            swap=order.swap,
            choices=RestoreChoices(owners=order.owners, privileges=order.privileges),
        )

    async def retention(self, request: PlanRetention) -> RetentionPlan:
        """What retention would do now."""
        target = self._desk.expect(request.target)
        catalogue = await target.repository.catalogue(target.name)
        verdicts = plan(
            catalogue.entries,
            target.config.keep,
            now=self._clock.now(),
            time_zone=self._zone(target),
            pinned=target.config.pinned,
        )
        return RetentionPlan(
            target=target.name,
            verdicts=tuple(
                RetentionVerdict(
                    backup_id=verdict.entry.manifest.backup_id,
                    verdict="keep" if verdict.kept else "delete",
                    reasons=verdict.reasons or ("no rule keeps it",),
                    consistent_at=verdict.entry.manifest.source.consistent_at,
                    stored_bytes=verdict.entry.manifest.stored_size,
                )
                for verdict in verdicts
            ),
        )

    async def _confirmed(self, request: RestoreBackup) -> Entry:
        expected = f"{request.target}/{request.backup_id}"
        if request.confirm != expected:
            raise RejectedError(
                f"confirm has to name target and backup: expected {expected!r}, found {request.confirm[:200]!r}",
                code=ErrorCode.PRECONDITION,
            )
        target = self._desk.expect(request.target)
        if request.swap and not target.kind.restorer.swaps:
            raise RejectedError(
                f"a target of kind {target.kind.source.kind} is not swapped: restore it without, and move it yourself",
                code=ErrorCode.PRECONDITION,
            )
        return await self._proving.find(target, request.backup_id)

    async def _ordered(self, request: TakeBackup | VerifyBackup | RestoreBackup) -> BackupOrdered:
        order_id = token(request.order_id or self._ids.new(), "order_id")
        await self._orders.order(msgspec.structs.replace(request, order_id=order_id), message_id=order_id)
        return BackupOrdered(order_id=order_id, watch=f"nats sub '{self._subjects.events('backup')}'")


def _order_id(given: str, envelope: Envelope) -> str:
    return token(given or envelope.id.lower(), "order_id")


def _view(entry: Entry, repository: str) -> BackupView:
    manifest = entry.manifest
    proven = [record for record in entry.records if record.passed]
    return BackupView(
        backup_id=manifest.backup_id,
        target=manifest.target,
        kind=manifest.kind,
        repository=repository,
        schedule=manifest.schedule,
        consistent_at=manifest.source.consistent_at,
        completed_at=manifest.completed_at,
        plain_bytes=manifest.plain_size,
        stored_bytes=manifest.stored_size,
        tables=len(manifest.source.contents),
        rows=manifest.rows,
        verified_at=entry.verified_at,
        broken=entry.broken,
        rto_s=proven[-1].rto_s if proven else None,
        locked_until=manifest.locked_until,
        warnings=manifest.source.warnings,
    )

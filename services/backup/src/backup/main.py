"""Wires the backup service; the only place that opens connections."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yaoki.clock import SystemClock, Uuid7Source
from yaoki.commands.backup import ListBackups, PlanRetention, RestoreBackup, TakeBackup, VerifyBackup
from yaoki.config.backup import S3Repository
from yaoki.config.connect import nats_settings
from yaoki.events.backup import BackupProgress
from yaoki.http import HttpServer, standard_routes
from yaoki.messaging import Messaging
from yaoki.runs.leases import RunLeases
from yaoki.tasks import end_tasks
from yaoki.telemetry import get_logger, setup_telemetry

from backup.adapters.directory import DirectoryObjectStore
from backup.adapters.health_route import health_route
from backup.adapters.hooks import ProgramHooks
from backup.adapters.s3 import S3Location, S3ObjectStore
from backup.attempts import Attempts
from backup.desk import BackupDesk, Target
from backup.handlers import BackupHandlers
from backup.pipeline.codec import identity_of
from backup.proving import ProvingDesk
from backup.repository import Repository
from backup.sources import kind_of
from backup.timetable import Timetable

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.config import Config, Secret
    from yaoki.config.backup import DirectoryRepository

SERVICE: Final = "backup"
_LEASE_S: Final = 15.0
_LOOK_S: Final = 0.5
_log = get_logger(__name__)


async def run_backup(config: Config, instance: str) -> None:
    """Take backups when they are ordered or due, until cancelled; one that is being taken then is aborted."""
    async with AsyncExitStack() as stack:
        telemetry = setup_telemetry(SERVICE, instance, config.telemetry, secrets=config.secrets())
        stack.callback(telemetry.shutdown)
        reasons = ["NATS is not connected yet"]
        section = config.backup
        repositories = {name: open_repository(name, place, stack) for name, place in section.repositories.items()}
        if section.http is not None:
            routes = standard_routes(lambda: reasons)
            if section.admin_key is not None:
                routes.append(health_route(section.targets, repositories, SystemClock(), section.admin_key.reveal()))
            server = HttpServer(routes, section.http)
            await server.start()
            stack.push_async_callback(server.stop)
        messaging = await stack.enter_async_context(
            Messaging.connect(nats_settings(config.nats), service=SERVICE, instance=instance)
        )
        await _Wiring(config, instance, messaging, repositories).run(reasons)


def open_repository(name: str, place: S3Repository | DirectoryRepository, stack: AsyncExitStack) -> Repository:
    """A repository of the configuration; what it holds open is closed with `stack`."""
    if not isinstance(place, S3Repository):
        return Repository(name, DirectoryObjectStore(Path(place.path)), place.prefix)
    store = S3ObjectStore(
        S3Location(
            bucket=place.bucket,
            endpoint=place.endpoint,
            region=place.region,
            access_key=_revealed(place.access_key),
            secret_key=_revealed(place.secret_key),
            session_token=_revealed(place.session_token),
            storage_class=place.storage_class,
            encryption=place.encryption,
            ca_file=place.ca_file,
            lock_days=place.lock_days,
            lock_mode=place.lock_mode,
        )
    )
    stack.callback(store.close)
    return Repository(name, store, place.prefix)


class _Wiring:
    """Everything of one process, connected."""

    def __init__(
        self, config: Config, instance: str, messaging: Messaging, repositories: dict[str, Repository]
    ) -> None:
        self._config = config
        self._messaging = messaging
        self._clock = SystemClock()
        section = config.backup
        self._targets = {
            name: Target(
                name=name,
                config=target,
                kind=kind_of(target, section),
                repository=repositories[target.repository],
                hooks=ProgramHooks(name, target.hooks, section.allowed_hooks),
            )
            for name, target in section.targets.items()
        }
        catalog = messaging.kv("catalog")
        holder = f"{instance}#{Uuid7Source().new()}"
        self._attempts = Attempts(catalog, RunLeases(messaging.kv("leases"), ttl_s=_LEASE_S), holder)
        self._live: set[asyncio.Task[None]] = set()
        self._desk = BackupDesk(
            self._targets,
            recipients=section.recipients,
            attempts=self._attempts,
            publisher=messaging.publisher,
            clock=self._clock,
            instance=instance,
            locked_until=self._locked_until,
            progress=self._show,
        )
        identities = [identity_of(section.identity.reveal())] if section.identity is not None else []
        self._proving = ProvingDesk(
            identities=identities, publisher=messaging.publisher, clock=self._clock, instance=instance
        )
        self._timetable = Timetable(
            section,
            self._targets,
            zone=config.time_zone,
            desk=self._desk,
            attempts=self._attempts,
            orders=messaging,
            publisher=messaging.publisher,
            catalog=catalog,
            clock=self._clock,
            tell_zone=self._zone,
        )
        self._stored: dict[str, int] = {}

    async def run(self, reasons: list[str]) -> None:
        """Handle messages and look at the clock until cancelled."""
        self._register()
        await self._messaging.start()
        tasks = (
            asyncio.create_task(self._timetable.run(), name="timetable"),
            asyncio.create_task(self._watch_readiness(reasons), name="readiness"),
        )
        _log.info("backup is ready", targets=len(self._targets))
        try:
            await asyncio.gather(*tasks)
        finally:
            await end_tasks((*tasks, *self._live))

    def _register(self) -> None:
        handlers = BackupHandlers(
            desk=self._desk,
            proving=self._proving,
            attempts=self._attempts,
            orders=self._messaging,
            subjects=self._messaging.subjects,
            clock=self._clock,
            ids=Uuid7Source(),
            zone=self._zone,
        )
        self._messaging.on_commands(TakeBackup, handlers.on_take_ordered)
        self._messaging.on_commands(VerifyBackup, handlers.on_verify_ordered)
        self._messaging.on_commands(RestoreBackup, handlers.on_restore_ordered)
        self._messaging.serve(TakeBackup, handlers.take)
        self._messaging.serve(ListBackups, handlers.list)
        self._messaging.serve(VerifyBackup, handlers.verify)
        self._messaging.serve(RestoreBackup, handlers.restore)
        self._messaging.serve(PlanRetention, handlers.retention)

    def _zone(self, target: Target) -> str:
        """Of the first schedule that backs the target up; its days are what people count in."""
        for schedule in self._config.backup.schedules.values():
            if target.name in schedule.targets and schedule.time_zone is not None:
                return schedule.time_zone
        return self._config.time_zone

    def _locked_until(self, repository: str) -> datetime | None:
        place = self._config.backup.repositories[repository]
        days = place.lock_days if isinstance(place, S3Repository) else 0
        return self._clock.now() + timedelta(days=days) if days else None

    def _show(self, target: Target, backup_id: str, size: int) -> None:
        """Say how far a backup is, to whoever listens."""
        stored = self._stored[backup_id] = self._stored.get(backup_id, 0) + size
        event = BackupProgress(
            backup_id=backup_id,
            target=target.name,
            kind=target.kind.source.kind,
            repository=target.repository.name,
            stored_bytes=stored,
            at=self._clock.now(),
        )
        if self._messaging.connected:
            task = asyncio.create_task(self._messaging.publish_live(("backup", backup_id), event))
            self._live.add(task)
            task.add_done_callback(self._live.discard)

    async def _watch_readiness(self, reasons: list[str]) -> None:
        while True:
            reasons[:] = self._messaging.healthy()
            await self._clock.sleep(_LOOK_S)


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()

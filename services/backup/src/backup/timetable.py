"""What happens by itself: schedules, retention, what dead processes left. Several instances may run it side by side."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.commands.backup import TakeBackup
from yaoki.errors import ConflictError, YaokiError
from yaoki.events.backup import BackupExpired
from yaoki.telemetry import get_logger

from backup import metrics
from backup.errors import ObjectLockedError
from backup.retention import plan
from backup.schedule import due

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from yaoki.clock import Clock
    from yaoki.config.backup import BackupSection
    from yaoki.messaging.ports import EventPublisher, KeyValue

    from backup.attempts import Attempts
    from backup.desk import BackupDesk, Target
    from backup.handlers import OrderStore

_log = get_logger(__name__)
_LOOK_S: Final = 5.0
_TIDY_S: Final = 3600.0


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Value of `catalog/schedule.<name>`: until when every time of the schedule has been seen to."""

    until: datetime


class Timetable:
    """Orders backups when they are due, and tidies up.

    Args:
        section: Of the configuration.
        zone: Time zone of schedules that name none.
        catalog: The bucket `catalog`.
        tell_zone: Time zone of a target's retention.
    """

    def __init__(
        self,
        section: BackupSection,
        targets: Mapping[str, Target],
        *,
        zone: str,
        desk: BackupDesk,
        attempts: Attempts,
        orders: OrderStore,
        publisher: EventPublisher,
        catalog: KeyValue,
        clock: Clock,
        tell_zone: Callable[[Target], str],
    ) -> None:
        self._section = section
        self._targets = targets
        self._zone = zone
        self._desk = desk
        self._attempts = attempts
        self._orders = orders
        self._publisher = publisher
        self._catalog = catalog
        self._clock = clock
        self._tell_zone = tell_zone
        self._tidied = clock.monotonic()

    async def run(self) -> None:
        """Look again and again, until cancelled; an outage of anything only delays."""
        while True:
            for name in self._section.schedules:
                await self._patiently(f"schedule {name}", lambda name=name: self.look(name))  # type: ignore[misc]  # mypy infers no type for a lambda with defaults
            await self._patiently("dead processes", self.settle)
            if self._clock.monotonic() - self._tidied > _TIDY_S:
                self._tidied = self._clock.monotonic()
                for target in self._targets.values():
                    await self._patiently(f"retention of {target.name}", lambda one=target: self.tidy(one))  # type: ignore[misc]  # as above
            await self._clock.sleep(_LOOK_S)

    async def look(self, name: str) -> tuple[str, ...]:
        """Order what a schedule has due; returns the ids of the orders. Whoever writes the time down first orders."""
        schedule, key, now = self._section.schedules[name], f"schedule.{name}", self._clock.now()
        entry = await self._catalog.get(key)
        if entry is None or entry.value is None:
            # A schedule that nobody has seen before has missed nothing.
            await self._catalog.create(key, msgspec.json.encode(_Seen(until=now)))
            return ()
        seen = msgspec.json.decode(entry.value, type=_Seen)
        coming = due(schedule, last=seen.until, now=now, zone=self._zone)
        if coming is None:
            return ()
        # Orders first, under the same ids for every instance: a crash before the time is written repeats them in vain.
        ordered = []
        for target in schedule.targets:
            order_id = f"{name}-{target}-{coming.at:%Y%m%dt%H%M}z"
            request = TakeBackup(target=target, by=f"schedule {name}", schedule=name, order_id=order_id)
            await self._orders.order(request, message_id=order_id)
            ordered.append(order_id)
        await self._catalog.update(key, msgspec.json.encode(_Seen(until=coming.at)), revision=entry.revision)
        return tuple(ordered)

    async def settle(self) -> None:
        """Say what became of backups whose process is gone."""
        for attempt in await self._attempts.unfinished():
            target = self._targets.get(attempt.target)
            if target is None or await self._attempts.busy(attempt.target):
                continue
            async with self._attempts.on(attempt.target) as mine:
                if mine:
                    await self._desk.settle(target)

    async def tidy(self, target: Target) -> None:
        """Delete what no rule keeps, and what interrupted backups left."""
        now = self._clock.now()
        async with self._attempts.on(target.name) as mine:
            if not mine:
                return
            catalogue = await target.repository.catalogue(target.name)
            verdicts = plan(
                catalogue.entries,
                target.config.keep,
                now=now,
                time_zone=self._tell_zone(target),
                pinned=target.config.pinned,
            )
            for verdict in verdicts:
                if not verdict.kept:
                    await self._expire(target, verdict.entry.manifest.backup_id)
            alive = [attempt.backup_id for attempt in await self._attempts.unfinished()]
            await target.repository.sweep(before=now - timedelta(seconds=self._section.sweep_after), alive=alive)

    async def _expire(self, target: Target, backup_id: str) -> None:
        entry = (await target.repository.catalogue(target.name)).find(backup_id)
        if entry is None:
            return
        try:
            freed = await target.repository.remove(entry)
        except ObjectLockedError as error:
            _log.warning("backup is kept by its store", backup=backup_id, error=error.message)
            return
        metrics.EXPIRED.labels(target.name).inc()
        event = BackupExpired(
            backup_id=backup_id,
            target=target.name,
            kind=entry.manifest.kind,
            repository=target.repository.name,
            reason="no rule keeps it",
            stored_bytes=freed,
            expired_at=self._clock.now(),
        )
        await self._publisher.publish(event, event_id=f"{backup_id}.{event.event_name()}")

    async def _patiently(self, what: str, work: Callable[[], object]) -> None:
        try:
            await work()  # type: ignore[misc]  # any awaitable
        except ConflictError:
            return  # another instance was faster
        except YaokiError as error:
            _log.warning("put off", what=what, error=error.message)

"""Wires the slo role; the only place of it that opens connections."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import structlog
from yaoki.clock import SystemClock, Uuid7Source
from yaoki.config.connect import nats_settings
from yaoki.errors import ConflictError, TransientError
from yaoki.http import HttpServer, standard_routes
from yaoki.maintenance import BUCKET as SLO
from yaoki.messaging import Messaging
from yaoki.runs.leases import BUCKET as LEASES
from yaoki.runs.leases import RunLeases
from yaoki.tasks import EndingGroup
from yaoki.telemetry import setup_telemetry

from health_probe.adapters.slo_feeds import Feeds
from health_probe.slo import metrics
from health_probe.slo.alarms import Alarms
from health_probe.slo.book import Book, TargetEvidence
from health_probe.slo.bookkeeper import Bookkeeper
from health_probe.slo.desk import MaintenanceDesk
from health_probe.slo.entries import Head
from health_probe.slo.handlers import SloHandlers
from health_probe.slo.incidents import Incidents
from health_probe.slo.ledger import Ledger, Shelf
from health_probe.slo.levels import Levels
from health_probe.slo.moments import MINUTE_S
from health_probe.slo.recovery_points import RecoveryPoints, synchronous_clusters
from health_probe.slo.services import panel_of, patience_s, service_levels
from health_probe.slo.term import Term

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yaoki.clock import Clock
    from yaoki.config import Config

SERVICE: Final = "health-probe"

T = TypeVar("T")

_RETRY_S: Final = 1.0
_log = structlog.get_logger(__name__)


async def run_slo(config: Config, instance: str) -> None:
    """Keep the ledger, or stand by to do so, and answer, until cancelled.

    Args:
        config: Loaded with the secrets of `nats`.
        instance: Name of this process, unique among those of this role.
    """
    async with AsyncExitStack() as stack:
        telemetry = setup_telemetry(SERVICE, instance, config.telemetry, secrets=config.secrets())
        stack.callback(telemetry.shutdown)
        reasons: list[Callable[[], list[str]]] = []
        if config.slo.http is not None:
            routes = standard_routes(lambda: reasons[0]() if reasons else ["waiting for NATS"])
            server = HttpServer(routes, config.slo.http)
            await server.start()
            stack.push_async_callback(server.stop)
        messaging = await stack.enter_async_context(
            Messaging.connect(nats_settings(config.nats), service=SERVICE, instance=instance)
        )
        reasons.append(messaging.healthy)
        await _keep(config, messaging)


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The role, wired."""

    book: Book
    feeds: Feeds
    desk: MaintenanceDesk
    levels: Levels
    bookkeeper: Bookkeeper


async def wire(config: Config, messaging: Messaging, clock: Clock) -> Parts:
    """Put the parts together, with what the last writer knew."""
    slo = messaging.kv(SLO)
    promised = service_levels(config)
    targets = sorted({target for level in promised.values() for target in level.targets})
    ledger = Ledger(slo)
    desk = MaintenanceDesk(
        slo=slo,
        publisher=messaging.publisher,
        rules=config.maintenance,
        targets=config.targets,
        clock=clock,
        subjects=messaging.subjects,
    )
    levels = Levels(
        config=config,
        promised=promised,
        ledger=ledger,
        incidents=Incidents(slo),
        desk=desk,
        alarms=Alarms(slo, messaging.publisher, int(config.slo.data_missing_after // MINUTE_S)),
        clock=clock,
    )
    head = await _patiently(Shelf(slo, "head", Head).read) or Head(minute=0)
    book = Book({target: TargetEvidence(patience_s(config, target), panel_of(config, target)) for target in targets})
    book.remember(head.outages)
    points = RecoveryPoints(synchronous_clusters(config), head.degraded)
    bookkeeper = Bookkeeper(
        config=config,
        levels=levels,
        book=book,
        points=points,
        ledger=ledger,
        desk=desk,
        slo=slo,
        publisher=messaging.publisher,
        clock=clock,
        instance=messaging.instance,
    )
    feeds = Feeds(messaging, book, points, position=head.position)
    return Parts(book=book, feeds=feeds, desk=desk, levels=levels, bookkeeper=bookkeeper)


async def _keep(config: Config, messaging: Messaging) -> None:
    clock = SystemClock()
    parts = await wire(config, messaging, clock)
    holder = f"{messaging.instance}#{Uuid7Source().new()}"
    leases = RunLeases(messaging.kv(LEASES), ttl_s=config.slo.lease)
    term = Term(parts.bookkeeper, parts.feeds, leases, holder, clock, connected=lambda: messaging.connected)
    messaging.on_reconnect(term.interrupted)
    SloHandlers(parts.levels, parts.desk, messaging.instance, lambda: term.holding).serve(messaging)
    await messaging.start()
    _log.info("service levels", services=len(parts.levels.promised), targets=len(parts.book.targets))
    try:
        async with EndingGroup() as group:
            group.create_task(parts.feeds.follow_views(), name="views")
            group.create_task(parts.feeds.follow_events(), name="events")
            group.create_task(term.run(), name="term")
    finally:
        with contextlib.suppress(ConflictError, TransientError):
            await term.release()
        metrics.WRITER.set(0)


async def _patiently(read: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await read()
        except TransientError as error:
            _log.warning("cannot read where the last writer stood, trying again", error=error.message)
            await asyncio.sleep(_RETRY_S)

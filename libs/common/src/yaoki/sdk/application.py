"""An application's connection to Yaoki."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import WeakSet

import msgspec

from yaoki.clock import Uuid7Source
from yaoki.commands.application import CollectGarbage, ResetPools
from yaoki.commands.probe import CheckIn
from yaoki.flags import BUCKET as FLAGS
from yaoki.messaging import Messaging, NatsSettings
from yaoki.sdk.cache import Cache
from yaoki.sdk.commands import CommandDesk, collect_garbage, serve_commands
from yaoki.sdk.database import Database
from yaoki.sdk.events import read_events
from yaoki.sdk.maintenance import MaintenanceMiddleware
from yaoki.sdk.pools import PRIMARY_LIMITS, REPLICA_LIMITS, Credentials, PoolLimits
from yaoki.sdk.requests import PERIOD_S, RequestStats
from yaoki.sdk.routes import RouteWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.commands.application import ApplicationCommand
    from yaoki.events import Event
    from yaoki.messaging.ports import Envelope, KeyValue
    from yaoki.plans import JsonObject
    from yaoki.sdk.commands import CommandHandler
    from yaoki.sdk.maintenance import ASGIApp

# A service of ours that stands still for seconds is broken; an application may compute for a while.
_APPLICATION_FREEZE_S = 300.0
_DRAIN_SHARE = 0.8

C = TypeVar("C", bound="ApplicationCommand")


class Yaoki:
    """Everything an application needs, over one NATS connection.

    Attributes:
        flags: The KV bucket `flags`.
    """

    def __init__(self, messaging: Messaging, application: str) -> None:
        self._messaging = messaging
        self._application = application
        self._databases: WeakSet[Database] = WeakSet()
        self._caches: WeakSet[Cache] = WeakSet()
        self._commands = CommandDesk(messaging.instance, Uuid7Source())
        self._commands.on(CollectGarbage, collect_garbage)
        self._commands.on(ResetPools, self._reset_pools)
        self._serving = False
        self.flags: KeyValue = messaging.kv(FLAGS)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, servers: str | NatsSettings = "nats://127.0.0.1:4222", *, application: str
    ) -> AsyncIterator[Self]:
        """Connect, waiting for NATS if it is away, and reconnect for ever.

        A connection that the server closes for good (revoked credentials) ends the process with status 70, to be
        restarted by its supervisor: an application that no longer hears of failovers must not go on unnoticed.

        Args:
            servers: URLs separated by commas, or complete settings.
            application: Its name: scope of its maintenance switch, and `ce-source` of what it publishes.
        """
        settings = servers if isinstance(servers, NatsSettings) else NatsSettings(servers=tuple(servers.split(",")))
        settings = msgspec.structs.replace(settings, freeze_limit_s=_APPLICATION_FREEZE_S)
        instance = f"{application}-{socket.gethostname().split('.')[0].lower()}-{os.getpid()}"
        async with Messaging.connect(settings, service=application, instance=instance) as messaging:
            yaoki = cls(messaging, application)
            try:
                yield yaoki
            finally:
                await yaoki._commands.stop()

    def database(
        self,
        cluster: str,
        credentials: Credentials,
        *,
        primary_limits: PoolLimits = PRIMARY_LIMITS,
        replica_limits: PoolLimits = REPLICA_LIMITS,
    ) -> Database:
        """Connections to a PostgreSQL cluster that follow its primary; use as an async context manager."""
        routes = RouteWatch(self.flags, cluster)
        database = Database(routes, credentials, primary_limits=primary_limits, replica_limits=replica_limits)
        self._databases.add(database)
        return database

    def cache(self, group: str, *, password: str | None = None, prefix: str = "", timeout_s: float = 0.25) -> Cache:
        """A cache in a Redis group that follows its master; use as an async context manager."""
        routes = RouteWatch(self.flags, group)
        cache = Cache(routes, self.flags, password=password, prefix=prefix, timeout_s=timeout_s)
        self._caches.add(cache)
        return cache

    def maintenance(self, app: ASGIApp, *, exempt: tuple[str, ...] = ("/health",)) -> MaintenanceMiddleware:
        """Wrap an ASGI application so that it answers 503 while maintenance mode is on."""
        return MaintenanceMiddleware(app, flags=self.flags, application=self._application, exempt=exempt)

    def request_stats(self, *, period_s: float = PERIOD_S) -> RequestStats:
        """Counts requests for the probe kind `metric`; use as an async context manager."""
        return RequestStats(self._messaging, self._application, period_s=period_s)

    def on_command(self, command: type[C], handler: CommandHandler[C]) -> None:
        """Have `handler` carry out what recovery orders of this application; it returns what to say about it.

            async def warm(_: WarmCache) -> JsonObject:
                return {"loaded": await catalogue.load_bestsellers()}

            yaoki.on_command(WarmCache, warm)
            await yaoki.serve_commands()

        Without a handler of your own, `CollectGarbage` runs Python's collector and `ResetPools` opens the connections
        of every `database` and `cache` made here anew; `WarmCache` is refused, since only you know what to load.

        Args:
            command: `CollectGarbage`, `ResetPools` or `WarmCache`.
            handler: Called once for each command id; cancelled after the command's `timeout_s`. What it raises is
                answered as a failure.
        """
        self._commands.on(command, handler)

    async def serve_commands(self) -> None:
        """Begin to answer at `yaoki.api.app-<application>.*`; a second call changes nothing."""
        if not self._serving:
            self._serving = True
            serve_commands(self._messaging, self._commands, self._application)
            await self._messaging.start()

    async def _reset_pools(self, command: ResetPools) -> JsonObject:
        databases, caches = list(self._databases), list(self._caches)
        # Less than the whole time, so that what is dropped then is still answered as done.
        within_s = command.timeout_s * _DRAIN_SHARE
        counts = await asyncio.gather(
            *(database.reset(within_s=within_s) for database in databases), *(cache.reset() for cache in caches)
        )
        return {"databases": len(databases), "caches": len(caches), "pools": sum(counts)}

    async def check_in(self, target: str, *, token: str | None = None, timeout_s: float = 5.0) -> None:
        """Check in at a target of kind `heartbeat`; returns when it is stored.

        Raises:
            TransientError: Not acknowledged; call again.
            RejectedError: No such target, or the wrong token.
        """
        await self._messaging.request(CheckIn(target=target, token=token), timeout_s=timeout_s)

    def events(self, *types: type[Event], after: int | None = None) -> AsyncIterator[tuple[Event, Envelope]]:
        """Events of these types, or all, in order and for ever.

            async for event, envelope in yaoki.events(FailureDetected):
                print(event.target, event.failure_type)

        Args:
            types: Which; all when left out.
            after: Continue behind this `Envelope.sequence`; from now on when left out.
        """
        return read_events(self._messaging.client, self._messaging.subjects, types, after=after)

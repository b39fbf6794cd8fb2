"""One process that guards a Redis: what it is made of."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from yaoki.clock import SystemClock, Uuid7Source
from yaoki.commands.agent import AgentStatus, AgentStatusQuery
from yaoki.config.connect import nats_settings
from yaoki.flag_store import FlagStore
from yaoki.flags import BUCKET as FLAGS
from yaoki.hands import hand_actions
from yaoki.http import HttpServer, standard_routes
from yaoki.messaging import Messaging
from yaoki.runs import OrderTable, serve_orders

from health_probe.agent.announcer import Announcer
from health_probe.agent.hands import host_hands
from health_probe.agent.programs import own_or_named_user
from health_probe.agent.redis_agent import RedisGuard
from health_probe.agent.redis_isolation import Isolation
from health_probe.agent.redis_node import RedisNode

if TYPE_CHECKING:
    from yaoki.config import Config
    from yaoki.config.clusters import RedisAgent

_TICK_S = 0.5
_DRAIN_S = 3.0


class RedisAgentProcess:
    """Guards one Redis.

    Args:
        name: Name in `agents`; the worker is `agent-<name>`.
        settings: That entry.
    """

    def __init__(self, config: Config, name: str, settings: RedisAgent) -> None:
        self._config = config
        self._settings = settings
        self._worker = f"agent-{name}"
        self._group = config.redis_groups[settings.group]
        self._announcer = Announcer(Uuid7Source())
        self._node = self._build_node()

    def _build_node(self) -> RedisNode:
        state = Path(self._settings.state_directory)
        own = self._group.members[self._settings.member]
        password = self._group.password.reveal() if self._group.password else None
        return RedisNode(
            data_directory=Path(self._settings.data_directory),
            config_file=state / "redis.conf",
            log_file=state / "redis.log",
            binary=Path(self._settings.binary),
            user=own_or_named_user(self._settings.run_as),
            host=own.host,
            port=own.port,
            login=(self._group.user, password),
        )

    async def run(self) -> None:
        """Guard the server until cancelled; then stop it."""
        async with AsyncExitStack() as stack:
            messaging = await stack.enter_async_context(
                Messaging.connect(nats_settings(self._config.nats), service="health-probe", instance=self._worker)
            )
            if self._settings.http is not None:
                server = HttpServer(standard_routes(messaging.healthy), self._settings.http)
                await server.start()
                stack.push_async_callback(server.stop)
            await self._guard(messaging)

    async def _guard(self, messaging: Messaging) -> None:
        guard = RedisGuard(
            agent=self._worker,
            group=self._settings.group,
            member=self._settings.member,
            members=self._group.members,
            node=self._node,
            flags=FlagStore(messaging.kv(FLAGS), messaging.publisher, SystemClock()),
            announcer=self._announcer,
            isolation=Isolation(
                self._node,
                others=len(self._group.members) - 1,
                state_file=Path(self._settings.state_directory) / "isolation.json",
            ),
        )

        async def status(_query: AgentStatusQuery) -> AgentStatus:
            return await guard.status()

        table = OrderTable(messaging.kv("commands"), worker=self._worker, instance=self._worker)
        hands = hand_actions(host_hands(self._settings.repairs))
        worker = serve_orders(messaging, table, {**guard.handlers(), **hands})
        messaging.serve(AgentStatusQuery, status, service=self._worker)
        await messaging.start()
        announcing = asyncio.create_task(self._announcer.run(messaging.publisher), name="announcer")
        try:
            await guard.run(_TICK_S)
        finally:
            await worker.stop()
            await guard.shut_down()
            await self._announcer.drain(_DRAIN_S)
            announcing.cancel()

"""One process that guards no server: what it is made of."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from yaoki.config.connect import nats_settings
from yaoki.hands import hand_actions
from yaoki.http import HttpServer, standard_routes
from yaoki.messaging import Messaging
from yaoki.runs import OrderTable, serve_orders

from health_probe.agent.hands import host_hands

if TYPE_CHECKING:
    from yaoki.config import Config
    from yaoki.config.clusters import HostAgent


class HostAgentProcess:
    """Repairs what it may on its host; what is probed there is none of its business.

    Args:
        name: Name in `agents`; the worker is `agent-<name>`.
        settings: That entry.
    """

    def __init__(self, config: Config, name: str, settings: HostAgent) -> None:
        self._config = config
        self._settings = settings
        self._worker = f"agent-{name}"

    async def run(self) -> None:
        """Take orders until cancelled."""
        async with AsyncExitStack() as stack:
            messaging = await stack.enter_async_context(
                Messaging.connect(nats_settings(self._config.nats), service="health-probe", instance=self._worker)
            )
            if self._settings.http is not None:
                server = HttpServer(standard_routes(messaging.healthy), self._settings.http)
                await server.start()
                stack.push_async_callback(server.stop)
            table = OrderTable(messaging.kv("commands"), worker=self._worker, instance=self._worker)
            worker = serve_orders(messaging, table, hand_actions(host_hands(self._settings.repairs)))
            stack.push_async_callback(worker.stop)
            await messaging.start()
            await asyncio.get_running_loop().create_future()  # until cancelled

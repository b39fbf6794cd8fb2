"""Probes the targets of an agent on its own host, as a prober does: same rhythm, same verdicts, one vantage."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from yaoki.clock import SystemClock
from yaoki.config.connect import nats_settings
from yaoki.messaging import Messaging
from yaoki.telemetry import get_logger

from health_probe.adapters.network import Network
from health_probe.kinds import Surroundings
from health_probe.main import SERVICE, keep_watch
from health_probe.routes import RouteBook

if TYPE_CHECKING:
    from yaoki.config import Config

_RESTART_S: Final = 5.0
log = get_logger(__name__)


async def probe_host(config: Config, agent: str) -> None:
    """Probe until cancelled.

    What goes wrong here ends nothing else: an agent that guards a server must not stop it because a probe failed.
    """
    while True:
        try:
            await _probe(config, agent)
        except Exception:
            log.exception("the host is not probed, beginning again")
        await asyncio.sleep(_RESTART_S)


async def _probe(config: Config, agent: str) -> None:
    """Over a connection of its own, so that nothing here can hold up what a guard says."""
    vantage = f"agent-{agent}"
    async with Messaging.connect(nats_settings(config.nats), service=SERVICE, instance=vantage) as messaging:
        surroundings = Surroundings(
            config=config, network=Network(), routes=RouteBook(), vantage=vantage, prober=vantage, agent=agent
        )
        await keep_watch(messaging, surroundings, SystemClock(), lambda _watch: messaging.start())

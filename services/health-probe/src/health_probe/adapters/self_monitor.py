"""Watches the prober's own loop, clocks, network and connection, and tells when it is not well."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Final

import nats.errors
import structlog
from yaoki.errors import TransientError
from yaoki.events.probe import ProberImpaired, ProberRestored
from yaoki.tasks import EndingGroup

from health_probe import metrics
from health_probe.self_health import BEAT_S, Sign

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.clock import Clock
    from yaoki.messaging import Messaging

    from health_probe.adapters.own_network import OwnNetwork
    from health_probe.crowd import Crowd
    from health_probe.self_health import SelfHealth

_NETWORK_EVERY_S: Final = 1.0
_ANSWER_S: Final = 1.0
_RETRY_S: Final = 1.0
_log = structlog.get_logger(__name__)


class SelfMonitor:
    """Feeds `SelfHealth` and tells its changes: one line of log, a metric, and an event as soon as NATS takes it.

    Args:
        health: What is known; results are judged by it (see `gate.Gate`).
        crowd: Learns whether NATS answers.
        vantage: From where this prober looks.
    """

    def __init__(
        self,
        *,
        health: SelfHealth,
        crowd: Crowd,
        network: OwnNetwork,
        messaging: Messaging,
        vantage: str,
        clock: Clock,
    ) -> None:
        self._health = health
        self._crowd = crowd
        self._network = network
        self._messaging = messaging
        self._vantage = vantage
        self._clock = clock
        self._impaired: tuple[datetime, float] | None = None
        self._untold: asyncio.Queue[ProberImpaired | ProberRestored] = asyncio.Queue()

    async def run(self) -> None:
        """Watch for ever; cancel to stop."""
        self._health.begin(self._clock.monotonic(), self._clock.now())
        async with EndingGroup() as group:
            group.create_task(self._beat(), name="self: loop and clocks")
            group.create_task(self._look_around(), name="self: network")
            group.create_task(self._tell(), name="self: events")

    async def _beat(self) -> None:
        while True:
            lag = self._health.beat(self._clock.monotonic(), self._clock.now())
            metrics.LOOP_LAG_SECONDS.observe(lag)
            self._notice_change()
            await self._clock.sleep(BEAT_S)

    async def _look_around(self) -> None:
        while True:
            reachable, references = await asyncio.gather(self._nats_answers(), self._network.reference_problem())
            now = self._clock.monotonic()
            self._crowd.nats(now, reachable=reachable)
            self._health.note(Sign.CROWD, now, self._crowd.problem)
            # A connection to another machine shows a way out that the table of routes may not know of.
            proven = reachable and not self._nats_is_here()
            self._health.note(Sign.NETWORK, now, references or (None if proven else self._network.route_problem()))
            await self._clock.sleep(_NETWORK_EVERY_S)

    async def _nats_answers(self) -> bool:
        if not self._messaging.connected:
            return False
        try:
            await self._messaging.client.flush(timeout=_ANSWER_S)  # type: ignore[arg-type]  # a float is as good
        except (nats.errors.Error, OSError):
            return False
        return True

    def _nats_is_here(self) -> bool:
        url = self._messaging.client.connected_url
        host = url.hostname if url is not None else None
        if host is None or host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def _notice_change(self) -> None:
        signs = self._health.signs(self._clock.monotonic())
        for sign in Sign:
            metrics.IMPAIRED.labels(sign).set(sign in signs)
        if signs and self._impaired is None:
            since, reasons = self._clock.now(), tuple(signs.values())
            self._impaired = (since, self._clock.monotonic())
            _log.error("the prober is not well itself and gives no verdicts", reasons=list(reasons))
            self._untold.put_nowait(ProberImpaired(**self._who(), since=since, reasons=reasons))
        elif not signs and self._impaired is not None:
            since, began = self._impaired
            self._impaired = None
            lasted = self._clock.monotonic() - began
            _log.warning("the prober is well again and gives verdicts", impaired_s=round(lasted, 1))
            self._untold.put_nowait(ProberRestored(**self._who(), since=since, impaired_s=round(lasted, 3)))

    def _who(self) -> dict[str, str]:
        return {"prober": self._messaging.instance, "vantage": self._vantage}

    async def _tell(self) -> None:
        while True:
            event = await self._untold.get()
            identity = f"{event.prober}.{event.event_name()}.{event.since:%Y%m%dt%H%M%S%f}"
            await self._publish(event, identity)

    async def _publish(self, event: ProberImpaired | ProberRestored, identity: str) -> None:
        while True:
            try:
                await self._messaging.publisher.publish(event, event_id=identity)
            except TransientError:
                await asyncio.sleep(_RETRY_S)
            else:
                return

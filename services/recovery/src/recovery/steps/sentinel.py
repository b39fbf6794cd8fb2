"""The steps of a Redis failover that Sentinel carries out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from yaoki.errors import ErrorCode, TransientError
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

from recovery.sentinel import FailoverRunsError, SentinelView, endpoint_of, newest, route_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.clock import Clock
    from yaoki.config.clusters import RedisGroup, Sentinels
    from yaoki.plans import Order
    from yaoki.runs.actions import Handler

    from recovery.ports import Flags, RedisClients, SentinelProcesses

_BETWEEN_S = 0.2
_SPARE = timedelta(seconds=0.5)
"""So much before the order expires its waiting ends by itself, with what was seen last."""


class SentinelSteps:
    """Confirm, order, prove, publish for a group with `sentinel`."""

    def __init__(
        self,
        groups: Mapping[str, RedisGroup],
        *,
        sentinels: SentinelProcesses,
        clients: RedisClients,
        flags: Flags,
        clock: Clock,
    ) -> None:
        self._groups = groups
        self._sentinels = sentinels
        self._clients = clients
        self._flags = flags
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """By action name."""
        return {
            "confirm-master-lost": self.confirm_lost,
            "order-sentinel-failover": self.order_failover,
            "write-through-master": self.write_through,
            "publish-sentinel-route": self.publish_route,
        }

    async def confirm_lost(self, order: Order) -> ActionResult:
        """A second signal besides the probes: Sentinel's word, or that no key can be written from here either.

        Skipped when Sentinel reaches the published master and it takes a key.
        """
        group = str(order.params["group"])
        view = await self._newest(group)
        route = await self._flags.route(group)
        published = str(view.master) if route is None or route.primary is None else route.primary.member
        if published != str(view.master):
            return _confirmed(published, f"Sentinel names {view.master} already")
        if view.down:
            return _confirmed(published, "Sentinel cannot reach it")
        try:
            await self._clients.write_back(self._groups[group], endpoint_of(view.master))
        except TransientError as error:
            return _confirmed(published, error.message)
        raise PreconditionFailedError(f"Sentinel reaches the master {published}, and it takes a key")

    async def order_failover(self, order: Order) -> ActionResult:
        """Have Sentinel replace the master unless it has done so, and wait for its decision.

        Raises:
            NoQuorumError: Too few Sentinels to authorise it; nothing was ordered.
            NoGoodReplicaError: There is nobody to promote.
            SentinelsSilentError: Half of them or more do not answer.
            ActionFailedError: Code `timeout`: the order was given, and no other master is named in time.
        """
        group, old = str(order.params["group"]), str(order.params["old"])
        settings = self._settings(group)
        view = await self._newest(group)
        if str(view.master) != old:
            return _switched(view, ordered=False)
        try:
            await self._sentinels.order_failover(settings, view.sentinel)
        except FailoverRunsError:
            ordered = False
        else:
            ordered = True
        while self._clock.now() < order.expires_at - _SPARE:
            await self._clock.sleep(_BETWEEN_S)
            view = await self._newest(group)
            if str(view.master) != old:
                return _switched(view, ordered=ordered)
        raise ActionFailedError(
            f"Sentinel still names {old} as the master of {settings.master!r}; look at its log", code=ErrorCode.TIMEOUT
        )

    async def write_through(self, order: Order) -> ActionResult:
        """Write a key through the new master, read it back and delete it."""
        group, master = str(order.params["group"]), str(order.params["master"])
        view = await self._expected(group, master)
        await self._clients.write_back(self._groups[group], endpoint_of(view.master))
        return ActionResult(result={"master": master})

    async def publish_route(self, order: Order) -> ActionResult:
        """Send the clients to the master that was proven, if Sentinel has not moved on."""
        group, master = str(order.params["group"]), str(order.params["master"])
        view = await self._expected(group, master)
        reason = f"Sentinel has made {master} the master in run {order.run_id}"
        await self._flags.publish_route(
            route_to(group, view, epoch=order.epoch, now=self._clock.now(), reason=reason), by=order.run_id
        )
        return ActionResult(result={"primary": master})

    async def _expected(self, group: str, master: str) -> SentinelView:
        view = await self._newest(group)
        if str(view.master) != master:
            raise ActionFailedError(f"Sentinel names {view.master} as the master by now, and no longer {master}")
        return view

    async def _newest(self, group: str) -> SentinelView:
        settings = self._settings(group)
        return newest(settings, await self._sentinels.views(settings))

    def _settings(self, group: str) -> Sentinels:
        found = self._groups[group].sentinel
        if found is None:
            raise PreconditionFailedError(f"group {group!r} names no Sentinels")
        return found


def _confirmed(master: str, signal: str) -> ActionResult:
    return ActionResult(result={"master": master, "signal": signal})


def _switched(view: SentinelView, *, ordered: bool) -> ActionResult:
    return ActionResult(
        result={"master": str(view.master), "config_epoch": view.config_epoch, "ordered": ordered},
    )

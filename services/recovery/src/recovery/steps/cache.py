"""The steps of a Redis failover that are taken in this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from yaoki.flags import Endpoint, Route, RouteState
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

from recovery.candidates import PRIMARY, NoCandidate, choose_replica
from recovery.failover import agent_worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.clock import Clock
    from yaoki.commands.agent import AgentStatus
    from yaoki.config.clusters import RedisGroup
    from yaoki.plans import Order
    from yaoki.runs.actions import Handler

    from recovery.ports import Agents, Flags

_LOOK_AGAIN_S = 0.25
_LOOKS = 2


class CacheSteps:
    """Confirm, cut, choose, publish for a Redis group."""

    def __init__(self, groups: Mapping[str, RedisGroup], *, agents: Agents, flags: Flags, clock: Clock) -> None:
        self._groups = groups
        self._agents = agents
        self._flags = flags
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """By action name."""
        return {
            "confirm-redis-lost": self.confirm_lost,
            "cut-redis-route": self.cut_route,
            "restore-redis-route": self.restore_route,
            "choose-redis": self.choose,
            "publish-redis-route": self.publish_route,
        }

    async def confirm_lost(self, order: Order) -> ActionResult:
        """The host's agent cannot log in either, or is silent together with its server; asked twice."""
        group = _group(order)
        old = await self._master(group)
        signal = "its agent does not answer"
        for look in range(_LOOKS):
            status = await self._status_of(group, old)
            if status is not None and status.accepting and status.role == PRIMARY:
                raise PreconditionFailedError(f"the agent of {old} logs in to it without trouble")
            if status is not None:
                signal = "its agent finds no process" if not status.running else "its agent cannot log in"
            if status is not None and not status.running:
                break
            if look + 1 < _LOOKS:
                await self._clock.sleep(_LOOK_AGAIN_S)
        return ActionResult(result={"member": old, "agent": self._worker(group, old), "signal": signal})

    async def cut_route(self, order: Order) -> ActionResult:
        """Tell clients to go without this cache until a master with a new epoch is published."""
        group = _group(order)
        before = await self._flags.route(group)
        await self._flags.cut_route(
            group,
            epoch=order.epoch,
            by=order.run_id,
            reason=f"the master is being replaced by run {order.run_id}",
        )
        return ActionResult(result={"before": msgspec.to_builtins(before)})

    async def restore_route(self, order: Order) -> ActionResult:
        """Nobody was promoted: lead clients back to where they were, in case the old master returns."""
        before = msgspec.convert(order.params["route"], Route | None)
        if before is None or before.state is RouteState.CUT:
            return ActionResult(result={"restored": False})
        await self._flags.publish_route(
            msgspec.structs.replace(
                before, epoch=order.epoch, since=self._clock.now(), reason="no replica could be promoted"
            )
        )
        return ActionResult(result={"restored": True})

    async def choose(self, order: Order) -> ActionResult:
        """The replica that has received most."""
        group, old = _group(order), str(order.params["old"])
        members = self._groups[group].members
        answers = await asyncio.gather(*(self._status_of(group, name) for name in members if name != old))
        promotable = frozenset(name for name, member in members.items() if member.promotable)
        choice = choose_replica(old, promotable, tuple(one for one in answers if one is not None))
        if isinstance(choice, NoCandidate):
            raise ActionFailedError(f"no replica may be promoted: {choice.reason}")
        return ActionResult(
            result={
                "candidate": choice.member,
                "agent": self._worker(group, choice.member),
                "position": choice.position,
            }
        )

    async def publish_route(self, order: Order) -> ActionResult:
        """Send the clients to the new master."""
        group, chosen = _group(order), str(order.params["member"])
        endpoints = {
            name: Endpoint(member=name, host=member.host, port=member.port)
            for name, member in self._groups[group].members.items()
        }
        await self._flags.publish_route(
            Route(
                cluster=group,
                state=RouteState.SERVING,
                epoch=order.epoch,
                primary=endpoints[chosen],
                replicas=tuple(one for name, one in endpoints.items() if name != chosen),
                since=self._clock.now(),
                reason=f"{chosen} was promoted by run {order.run_id}",
            )
        )
        return ActionResult(result={"primary": chosen, "epoch": list(msgspec.structs.astuple(order.epoch))})

    async def _master(self, group: str) -> str:
        route = await self._flags.route(group)
        if route is not None and route.primary is not None:
            return route.primary.member
        members = self._groups[group].members
        return next((name for name, member in members.items() if member.promotable), next(iter(members)))

    async def _status_of(self, group: str, member: str) -> AgentStatus | None:
        return await self._agents.status(self._worker(group, member))

    def _worker(self, group: str, member: str) -> str:
        return agent_worker(self._groups[group].members[member].agent)


def _group(order: Order) -> str:
    return str(order.params["group"])

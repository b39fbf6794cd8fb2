"""The first route of a cluster or group that has none yet.

Before anything was ever switched, clients need to be told where the primary is. Only an absent route is written:
from then on routes are changed by runs alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.epoch import NO_EPOCH, Epoch
from yaoki.flags import Endpoint, Route, RouteState

from recovery.candidates import PRIMARY
from recovery.failover import agent_worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.clock import Clock
    from yaoki.config.clusters import PostgresMember, RedisMember
    from yaoki.config.model import Config

    from recovery.fencing import Fence
    from recovery.ports import Agents, Flags

FIRST_ROUTE = "recovery"


class InitialRoutes:
    """Publishes what is missing; meant to be called every second or so until `complete`."""

    def __init__(self, config: Config, *, fence: Fence, agents: Agents, flags: Flags, clock: Clock) -> None:
        self._config = config
        self._fence = fence
        self._agents = agents
        self._flags = flags
        self._clock = clock
        guarded = {name for name, group in config.redis_groups.items() if group.sentinel is None}
        self._missing = {*config.postgres_clusters, *guarded}

    @property
    def complete(self) -> bool:
        """Every cluster and group has a route."""
        return not self._missing

    async def publish(self) -> None:
        """Publish the first route of each cluster and group whose primary can be told."""
        for name in sorted(self._missing):
            if await self._flags.route(name) is not None or await self._publish_one(name):
                self._missing.discard(name)

    async def _publish_one(self, name: str) -> bool:
        cluster = self._config.postgres_clusters.get(name)
        if cluster is None:
            group = self._config.redis_groups[name]
            return await self._announce(name, group.members, await self._serving(group.members), NO_EPOCH)
        version = await self._fence.read(name)
        if version is None or version.record.revoked_by:
            return False
        serving = await self._serving(cluster.members)
        holder = serving if serving == version.record.holder else ""
        return await self._announce(name, cluster.members, holder, version.record.epoch)

    async def _serving(self, members: Mapping[str, PostgresMember] | Mapping[str, RedisMember]) -> str:
        """The one member whose agent says that it is an accepting primary; empty unless there is exactly one."""
        found = []
        for name, member in members.items():
            status = await self._agents.status(agent_worker(member.agent))
            if status is not None and status.accepting and status.role == PRIMARY:
                found.append(name)
        return found[0] if len(found) == 1 else ""

    async def _announce(
        self,
        name: str,
        members: Mapping[str, PostgresMember] | Mapping[str, RedisMember],
        primary: str,
        epoch: Epoch,
    ) -> bool:
        if not primary:
            return False
        endpoints = {key: Endpoint(member=key, host=one.host, port=one.port) for key, one in members.items()}
        await self._flags.publish_route(
            Route(
                cluster=name,
                state=RouteState.SERVING,
                epoch=epoch,
                primary=endpoints.pop(primary),
                replicas=tuple(endpoints.values()),
                since=self._clock.now(),
                reason="first route",
            ),
            by=FIRST_ROUTE,
        )
        return True

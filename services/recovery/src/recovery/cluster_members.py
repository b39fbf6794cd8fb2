"""What is asked of the members of a PostgreSQL cluster, by their names in the configuration."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yaoki.errors import RejectedError
from yaoki.flags import Endpoint, Route, RouteState

from recovery.candidates import Snapshot
from recovery.failover import agent_worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from yaoki.commands.agent import AgentStatus
    from yaoki.config.clusters import PostgresCluster
    from yaoki.epoch import Epoch
    from yaoki.leases import ClusterLease

    from recovery.ports import Agents


class ClusterMembers:
    """The configured clusters and their agents.

    Args:
        clusters: `postgres_clusters` of the configuration.
    """

    def __init__(self, clusters: Mapping[str, PostgresCluster], agents: Agents) -> None:
        self._clusters = clusters
        self._agents = agents

    def settings(self, cluster: str) -> PostgresCluster:
        """The cluster's configuration.

        Raises:
            RejectedError: There is no such cluster here.
        """
        if cluster not in self._clusters:
            raise RejectedError(
                f"cluster {cluster!r} is not configured in this instance; expected it in postgres_clusters"
            )
        return self._clusters[cluster]

    def worker(self, cluster: str, member: str) -> str:
        """Worker name of the agent that guards `member`."""
        return agent_worker(self.settings(cluster).members[member].agent)

    def endpoint(self, cluster: str, member: str) -> Endpoint:
        """Where clients reach `member`."""
        found = self.settings(cluster).members[member]
        return Endpoint(member=member, host=found.host, port=found.port)

    def route_to(self, cluster: str, member: str, *, epoch: Epoch, since: datetime, reason: str) -> Route:
        """The route that leads clients to `member` as the primary, and to all others as replicas."""
        others = (name for name in self.settings(cluster).members if name != member)
        return Route(
            cluster=cluster,
            state=RouteState.SERVING,
            epoch=epoch,
            primary=self.endpoint(cluster, member),
            replicas=tuple(self.endpoint(cluster, name) for name in others),
            since=since,
            reason=reason,
        )

    async def status(self, cluster: str, member: str) -> AgentStatus | None:
        """What the member's agent answers; None when it does not, or when there is no such member."""
        configured = self.settings(cluster).members.get(member)
        return None if configured is None else await self._agents.status(agent_worker(configured.agent))

    async def answers(self, cluster: str, members: Iterable[str]) -> tuple[AgentStatus, ...]:
        """What those agents answer that do, all asked at once."""
        found = await asyncio.gather(*(self.status(cluster, name) for name in sorted(members)))
        return tuple(status for status in found if status is not None)

    async def snapshot(self, record: ClusterLease) -> Snapshot:
        """What a choice of another primary than the holder rests on, asked now."""
        settings = self.settings(record.cluster)
        others = frozenset(settings.members) - {record.holder}
        return Snapshot(
            holder=record.holder,
            timeline=record.timeline,
            position=record.position,
            others=others,
            promotable=frozenset(name for name in others if settings.members[name].promotable),
            statuses=await self.answers(record.cluster, others),
            synchronous=frozenset(record.synchronous) - {record.holder},
            required=record.synchronous_required,
            max_lag_bytes=settings.max_lag_bytes,
        )

"""Ending connections that are stuck, so that applications open new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import TransientError
from yaoki.flags import Endpoint, RouteState
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import PreconditionFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.config.clusters import PostgresCluster, RedisGroup
    from yaoki.plans import Order
    from yaoki.runs.actions import Handler

    from recovery.ports import DatabaseSessions, Flags, RedisClients


class SessionSteps:
    """`restart-database-connections` and `restart-redis-connections`."""

    def __init__(
        self,
        clusters: Mapping[str, PostgresCluster],
        groups: Mapping[str, RedisGroup],
        *,
        flags: Flags,
        sessions: DatabaseSessions,
        clients: RedisClients,
    ) -> None:
        self._clusters = clusters
        self._groups = groups
        self._flags = flags
        self._sessions = sessions
        self._clients = clients

    def handlers(self) -> dict[str, Handler]:
        """By action name."""
        return {
            "terminate-stuck-sessions": self.terminate_stuck_sessions,
            "kill-redis-clients": self.kill_redis_clients,
            "delete-cached-keys": self.delete_cached_keys,
            "find-primary": self.find_primary,
        }

    async def terminate_stuck_sessions(self, order: Order) -> ActionResult:
        """End application sessions on the current primary that are stuck; skipped when it accepts no connection."""
        name = str(order.params["cluster"])
        cluster = self._clusters[name]
        members = {key: (one.host, one.port) for key, one in cluster.members.items() if one.promotable}
        try:
            ended = await self._sessions.terminate_stuck(
                cluster,
                await self._primary(name, members),
                idle_s=float(order.params["idle_s"]),
                waiting_s=float(order.params["waiting_s"]),
                running_s=float(order.params["running_s"]),
            )
        except TransientError as error:
            raise PreconditionFailedError(f"the server accepts no connection: {error.message}") from error
        return ActionResult(result=msgspec.to_builtins(ended))

    async def kill_redis_clients(self, order: Order) -> ActionResult:
        """End ordinary client connections of the current master; skipped when it accepts no connection."""
        name = str(order.params["group"])
        group = self._groups[name]
        members = {key: (one.host, one.port) for key, one in group.members.items() if one.promotable}
        try:
            killed = await self._clients.kill_normal(group, await self._primary(name, members))
        except TransientError as error:
            raise PreconditionFailedError(f"the server accepts no connection: {error.message}") from error
        return ActionResult(result={"killed": killed})

    async def delete_cached_keys(self, order: Order) -> ActionResult:
        """Delete the keys of `params.group` that `params.match` matches; skipped when it accepts no connection."""
        name, match = str(order.params["group"]), str(order.params["match"])
        group = self._groups[name]
        members = {key: (one.host, one.port) for key, one in group.members.items() if one.promotable}
        try:
            deleted = await self._clients.delete_matching(group, await self._primary(name, members), match)
        except TransientError as error:
            raise PreconditionFailedError(f"the server accepts no connection: {error.message}") from error
        return ActionResult(result={"deleted": deleted})

    async def find_primary(self, order: Order) -> ActionResult:
        """Name the member that clients of `params.cluster` are led to."""
        name = str(order.params["cluster"])
        members = {key: (one.host, one.port) for key, one in self._clusters[name].members.items() if one.promotable}
        return ActionResult(result={"member": (await self._primary(name, members)).member})

    async def _primary(self, name: str, members: dict[str, tuple[str, int]]) -> Endpoint:
        route = await self._flags.route(name)
        if route is not None and route.state is RouteState.CUT:
            raise PreconditionFailedError(f"the route of {name!r} is cut; there is no primary now")
        if route is not None and route.primary is not None:
            return route.primary
        if not members:
            raise PreconditionFailedError(f"the master of {name!r} is not known yet; Sentinel has not been heard")
        member, (host, port) = next(iter(members.items()))
        return Endpoint(member=member, host=host, port=port)

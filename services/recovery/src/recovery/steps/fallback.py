"""Routing to a static backup database when no standby can be promoted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.errors import TransientError
from yaoki.flags import Route, RouteState
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import PreconditionFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.clock import Clock
    from yaoki.config.clusters import PostgresCluster
    from yaoki.plans import Order
    from yaoki.runs.actions import Handler

    from recovery.ports import DatabaseSessions, Flags


class FallbackSteps:
    """Check it, then send the clients there; the route says that it is DEGRADED."""

    def __init__(
        self, clusters: Mapping[str, PostgresCluster], *, flags: Flags, sessions: DatabaseSessions, clock: Clock
    ) -> None:
        self._clusters = clusters
        self._flags = flags
        self._sessions = sessions
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """By action name."""
        return {"check-fallback": self.check_fallback, "route-to-fallback": self.route_to_fallback}

    async def check_fallback(self, order: Order) -> ActionResult:
        """Skipped when the backup database does not answer."""
        try:
            endpoint = await self._sessions.check_fallback(self._clusters[str(order.params["cluster"])])
        except TransientError as error:
            raise PreconditionFailedError(f"the backup database does not answer: {error.message}") from error
        return ActionResult(result={"host": endpoint.host, "port": endpoint.port})

    async def route_to_fallback(self, order: Order) -> ActionResult:
        """Publish the backup database as the degraded primary."""
        cluster = str(order.params["cluster"])
        endpoint = await self._sessions.check_fallback(self._clusters[cluster])
        await self._flags.publish_route(
            Route(
                cluster=cluster,
                state=RouteState.DEGRADED,
                epoch=order.epoch,
                primary=endpoint,
                since=self._clock.now(),
                reason=f"run {order.run_id} switched to the static backup database",
            )
        )
        return ActionResult(result={"host": endpoint.host, "port": endpoint.port})

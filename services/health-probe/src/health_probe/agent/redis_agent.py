"""Guards one Redis: starts it in the role that the route gives it, and carries out `redis.*` orders."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yaoki.commands.agent import AgentStatus
from yaoki.epoch import NO_EPOCH
from yaoki.errors import RejectedError, TransientError, YaokiError
from yaoki.events.agent import ServerStarted, ServerStopped
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError
from yaoki.telemetry import get_logger

from health_probe.agent import metrics
from health_probe.agent.durable import boottime
from health_probe.agent.redis_decision import Master, RedisAction, RedisLocal, decide_redis, master_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from yaoki.config.clusters import RedisMember
    from yaoki.flag_store import FlagStore
    from yaoki.flags import Route
    from yaoki.plans import Order

    from health_probe.agent.announcer import Announcer
    from health_probe.agent.redis_isolation import Isolation
    from health_probe.agent.redis_node import RedisNode

_LEAVE_TO_RECOVERY_S = 30.0
_POLL_S = 0.05
_ROUTE_S = 2.0
log = get_logger(__name__)


class RedisGuard:
    """State and actions of one agent.

    Args:
        agent: Worker name.
        members: Of the group, by name; the first promotable one is the master of a new group.
        flags: Where the route is published.
    """

    def __init__(
        self,
        *,
        agent: str,
        group: str,
        member: str,
        members: Mapping[str, RedisMember],
        node: RedisNode,
        flags: FlagStore,
        announcer: Announcer,
        isolation: Isolation,
    ) -> None:
        self._agent = agent
        self._group = group
        self._member = member
        self._members = members
        self._node = node
        self._flags = flags
        self._announcer = announcer
        self._isolation = isolation
        self._turn = asyncio.Lock()
        self._epoch = NO_EPOCH
        self._alive_as: str | None = None
        self._crashed_at: float | None = None
        self._stopped = False
        first = next(name for name, one in members.items() if one.promotable)
        self._initial = Master(first, members[first].host, members[first].port)

    # -- the loop

    async def run(self, tick_s: float) -> None:
        """Reconcile for ever."""
        while True:
            try:
                await self.reconcile()
            except (YaokiError, OSError) as error:
                log.warning("not reconciled yet", error=str(error))
            await asyncio.sleep(tick_s)

    async def reconcile(self) -> None:
        """Look, decide, act, once."""
        async with self._turn:
            if self._stopped:
                return
            local = await self._local()
            route = await self._route(local)
            if route is not None:
                self._epoch = max(self._epoch, route.epoch)
            master = master_of(route, self._initial)
            action = decide_redis(master, local, self._member)
            if action is not RedisAction.NOTHING and master is not None:
                await self._act(action, master)

    async def _route(self, local: RedisLocal) -> Route | None:
        try:
            async with asyncio.timeout(_ROUTE_S):
                route = await self._flags.route(self._group)
        except (YaokiError, TimeoutError):
            await self._isolation.route_was_not_read(master=bool(local.master))
            raise
        await self._isolation.route_was_read(running=local.running)
        return route

    async def _local(self) -> RedisLocal:
        running = bool(self._node.working())
        if self._alive_as is not None and not running:
            self._crashed_at = boottime() if self._alive_as == "primary" else None
            self._say_stopped("crashed")
        view = await self._node.view() if running else None
        if view is not None:
            self._alive_as = "primary" if view.master else "standby"
        return RedisLocal(
            running=running,
            master=None if view is None else view.master,
            upstream=None if view is None else view.upstream,
            left_to_recovery=(self._crashed_at is not None and boottime() - self._crashed_at < _LEAVE_TO_RECOVERY_S),
        )

    async def _act(self, action: RedisAction, master: Master) -> None:
        log.info("reconcile", action=action.value, master=master.member)
        if action is RedisAction.FOLLOW:
            await self._node.follow(master.host, master.port)
        else:
            alone = action is RedisAction.START_MASTER
            self._node.start(None if alone else (master.host, master.port))
            self._alive_as = "primary" if alone else "standby"
            self._announcer.announce(
                ServerStarted(
                    agent=self._agent,
                    cluster=self._group,
                    member=self._member,
                    epoch=self._epoch,
                    role=self._alive_as,
                )
            )
        metrics.RECONCILED.labels(f"redis-{action.value}", "done").inc()

    def _say_stopped(self, reason: str) -> None:
        self._alive_as = None
        metrics.STOPS.labels(reason).inc()
        self._announcer.announce(
            ServerStopped(agent=self._agent, cluster=self._group, member=self._member, epoch=self._epoch, reason=reason)
        )

    # -- orders

    def handlers(self) -> dict[str, Callable[[Order], Awaitable[ActionResult]]]:
        """For `serve_orders`."""
        return {"redis.stop": self.stop, "redis.promote": self.promote, "redis.follow": self.follow}

    async def stop(self, order: Order) -> ActionResult:
        """Stop the server; `processes` is 0, or the order has failed."""
        async with self._turn:
            self._obey(order)
            was = self._alive_as
            try:
                await self._node.stop()
            except TransientError as error:
                raise ActionFailedError(error.message, code=error.code) from error
            if was is not None:
                self._crashed_at = boottime()  # what is to become of it is the orderer's decision, for a while
                self._say_stopped("ordered")
        return ActionResult(result={"member": self._member, "processes": 0})

    async def promote(self, order: Order) -> ActionResult:
        """Make the running replica the master; a repeat finds it done."""
        async with self._turn:
            view = await self._node.view()
            if view is None:
                raise PreconditionFailedError(f"{self._member} does not answer; only a running replica can be promoted")
            self._obey(order)
            await self._node.promote()
            while (view := await self._node.view()) is None or not view.master:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(_POLL_S)
            self._alive_as = "primary"
        return ActionResult(result={"member": self._member, "position": view.offset})

    async def follow(self, order: Order) -> ActionResult:
        """Become a replica of params.primary, started as one if it does not run."""
        primary = order.params.get("primary")
        upstream = self._members.get(str(primary))
        if upstream is None:
            raise RejectedError(f"params.primary is {primary!r}; expected one of {', '.join(self._members)}")
        if primary == self._member:
            raise PreconditionFailedError(f"{self._member} is the master itself")
        async with self._turn:
            self._obey(order)
            if self._node.working():
                await self._node.follow(upstream.host, upstream.port)
            else:
                await self._act(RedisAction.START_REPLICA, Master(str(primary), upstream.host, upstream.port))
        return ActionResult(result={"member": self._member, "primary": str(primary)})

    def _obey(self, order: Order) -> None:
        self._epoch = max(self._epoch, order.epoch)

    async def shut_down(self) -> None:
        """Stop the server because the agent ends."""
        async with self._turn:
            self._stopped = True
            await self._node.stop(patience_s=10.0)
            if self._alive_as is not None:
                self._say_stopped("shutdown")

    async def status(self) -> AgentStatus:
        """What is known, measured now."""
        view = await self._node.view()
        role = "unknown" if view is None else "primary" if view.master else "standby"
        return AgentStatus(
            agent=self._agent,
            cluster=self._group,
            member=self._member,
            kind="redis",
            running=bool(self._node.working()),
            accepting=view is not None,
            role=role,
            epoch=self._epoch,
            received=0 if view is None else view.offset,
            replayed=0 if view is None else view.offset,
            upstream_connected=view is not None and view.linked,
        )

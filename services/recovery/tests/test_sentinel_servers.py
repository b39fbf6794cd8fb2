"""Failovers through three real Sentinels: ordered by a run, decided by themselves, and refused."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import msgspec
import pytest
from recovery.adapters.redis import RedisConnections
from recovery.adapters.sentinel import RedisSentinels
from recovery.chains import plan_for
from recovery.sentinel import FailoverRunsError, NoGoodReplicaError, NoQuorumError, SentinelsSilentError, newest
from recovery.sentinel_routes import SentinelRoutes
from recovery.steps.checks import CheckSteps
from recovery.steps.sentinel import SentinelSteps
from recovery.steps.sessions import SessionSteps
from yaoki.clock import SystemClock, Uuid7Source
from yaoki.config import Address, ChainLink, Config, RecoverySection, RedisGroup, Secret, Sentinels
from yaoki.errors import TransientError
from yaoki.events.probe import FailureType, ProbeResult, ProbeStatus
from yaoki.events.runs import Ending
from yaoki.flag_store import FlagStore
from yaoki.plans import Plan
from yaoki.runs import InMemoryJournal, LocalWorker, RunExecutor, RunLeases, RunRegistry, RunState, StartRun, Workers
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError
from yaoki.testing import InMemoryKeyValue, InMemoryPublisher, eventually
from yaoki_devstack.sentinel import SentinelGroup

from .builders import config, order

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki_devstack.redis import RedisServer

pytestmark = pytest.mark.real
NEVER_MS = 60_000


class Rescue:
    """Recovery's part, on real Sentinels; its flags and its journal are in memory."""

    def __init__(self, servers: SentinelGroup) -> None:
        self.servers = servers
        self.clock = SystemClock()
        self.clients = RedisConnections()
        self.sentinels = RedisSentinels()
        self.flags = FlagStore(InMemoryKeyValue(), InMemoryPublisher(), self.clock)
        sentinel = servers.sentinels[0]
        self.settings = Sentinels(
            addresses=tuple(Address(one.host, one.port) for one in servers.sentinels),
            master=sentinel.master,
            password=Secret("env:SENTINEL", sentinel.password),
        )
        self.group = RedisGroup(password=Secret("env:REDIS", servers.redis[0].password), sentinel=self.settings)
        self.groups = {"cache": self.group}
        self.steps = SentinelSteps(
            self.groups, sentinels=self.sentinels, clients=self.clients, flags=self.flags, clock=self.clock
        )
        self.routes = SentinelRoutes(self.config(), sentinels=self.sentinels, flags=self.flags, clock=self.clock)

    def config(self) -> Config:
        chain = (ChainLink(action="restart-redis-connections"), ChainLink(action="switch-redis", delay=0.0))
        recovery = RecoverySection(transition_delay=0.0, chains={FailureType.REDIS_CONNECTION: chain})
        return msgspec.structs.replace(config(recovery=recovery), redis_groups=self.groups)

    async def check(self, target: str, within_s: float) -> ProbeResult:
        """See `Prober`: a key is written through the published route."""
        route = await self.flags.route("cache")
        assert route is not None
        assert route.primary is not None
        try:
            await self.clients.write_back(self.group, route.primary)
        except TransientError as error:
            status, detail = ProbeStatus.UNHEALTHY, error.message
        else:
            status, detail = ProbeStatus.HEALTHY, target
        return ProbeResult(status=status, at=self.clock.now(), response_ms=within_s, detail=detail)

    async def repair(self) -> RunState:
        """Run the chain of a lost Redis to its end."""
        actions = {
            **self.steps.handlers(),
            **CheckSteps(self, self.clock).handlers(),
            **SessionSteps(
                {}, self.groups, flags=self.flags, sessions=None, clients=self.clients  # type: ignore[arg-type]  # no database here
            ).handlers(),
        }  # fmt: skip
        executor = RunExecutor(
            run_kind="recovery",
            instance="recovery-1",
            journal=InMemoryJournal(),
            workers=Workers({"recovery": LocalWorker(actions)}),
            registry=RunRegistry(InMemoryKeyValue()),
            leases=RunLeases(InMemoryKeyValue()),
            clock=self.clock,
            ids=Uuid7Source(),
        )
        plan = plan_for(self.config(), "orders-cache", FailureType.REDIS_CONNECTION, recheck=False)
        assert isinstance(plan, Plan)
        start = StartRun(
            run_kind="recovery",
            run_id="run-1",
            resource="cache",
            plan=msgspec.structs.replace(plan, on_exhausted=()),
            facts={"target": "orders-cache", "failure": {}},
        )
        await executor.start(start)
        supervised = asyncio.create_task(executor.supervise())
        try:
            return await executor.finished("run-1")
        finally:
            supervised.cancel()
            with suppress(asyncio.CancelledError):
                await supervised

    async def leads_to(self, server: RedisServer) -> bool:
        """Look, and see where the route leads."""
        await self.routes.look()
        route = await self.flags.route("cache")
        return route is not None and route.primary is not None and route.primary.port == server.port

    async def order_failover(self) -> None:
        """Through the newest view, as a run does."""
        view = newest(self.settings, await self.sentinels.views(self.settings))
        await self.sentinels.order_failover(self.settings, view.sentinel)


@asynccontextmanager
async def rescue(*, down_after_ms: int) -> AsyncIterator[Rescue]:
    async with SentinelGroup(down_after_ms=down_after_ms) as servers:
        found = Rescue(servers)
        try:
            yield found
        finally:
            await found.sentinels.close()


@pytest.mark.parametrize("ordered_before", [False, True])
async def test_a_run_has_sentinel_replace_a_killed_master(*, ordered_before: bool) -> None:
    """Sentinel by itself would wait for a minute, and one of the three is dead; or a failover was ordered already."""
    async with rescue(down_after_ms=NEVER_MS) as world:
        old, new = world.servers.redis
        assert await world.leads_to(old)
        before = await world.flags.route("cache")
        with pytest.raises(PreconditionFailedError, match="takes a key"):
            await world.steps.confirm_lost(order("confirm-master-lost", {"group": "cache"}))
        await world.servers.sentinels[0].kill()
        await old.kill()
        if ordered_before:
            await world.order_failover()
            # It is still under way, or was done before the second order came: nobody is left to fail over to.
            with pytest.raises((FailoverRunsError, NoGoodReplicaError)):
                await world.order_failover()

        run = await world.repair()

        assert run.ending is Ending.COMPLETED, run.reason
        route = await world.flags.route("cache")
        assert route is not None
        assert before is not None
        assert route.primary is not None
        assert (route.primary.port, route.by) == (new.port, "run-1")
        assert route.epoch > before.epoch
        assert (await world.check("orders-cache", 1.0)).status is ProbeStatus.HEALTHY


async def test_the_route_follows_what_sentinel_decides_and_refusals_are_told_apart() -> None:
    """Nobody orders anything when the master dies; afterwards there is no replica, no quorum, and then nobody."""
    async with rescue(down_after_ms=500) as world:
        first, second, third = world.servers.sentinels
        old, new = world.servers.redis
        assert await world.leads_to(old)

        await old.kill()
        await eventually(lambda: world.leads_to(new), within=30, poll=0.1)
        await eventually(lambda: _refused(world, NoGoodReplicaError), within=30, poll=0.2)

        await third.kill()
        for sentinel in (first, second):
            await sentinel.cli("SENTINEL", "SET", sentinel.master, "quorum", "3")
        await eventually(lambda: _refused(world, NoQuorumError), within=10, poll=0.2)

        published = await world.flags.route("cache")
        await second.kill()
        with pytest.raises(SentinelsSilentError, match="1 of 3 Sentinels"):
            await world.order_failover()
        await world.routes.look()
        assert await world.flags.route("cache") == published


async def _refused(world: Rescue, kind: type[ActionFailedError]) -> bool:
    """Sentinels know of a death after a moment; until then they refuse for another reason, or obey."""
    try:
        await world.order_failover()
    except ActionFailedError as error:
        return isinstance(error, kind)
    return False

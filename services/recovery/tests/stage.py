"""A whole rescue in virtual time: recovery's processes, which may die, and the cluster, which outlives them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
from recovery.chains import NoPlan, plan_for
from recovery.clearances import ClearanceStore
from recovery.cluster_members import ClusterMembers
from recovery.fencing import Fence
from recovery.restorer import Restorer
from recovery.steps.checks import CheckSteps
from recovery.steps.database import DatabaseSteps
from recovery.steps.escalating import EscalationSteps
from recovery.steps.sessions import SessionSteps
from recovery.steps.switches import SwitchSteps
from recovery.steps.switchover import SwitchoverSteps
from yaoki.events.probe import FailureType
from yaoki.events.recovery import EscalatedToHuman, PrimaryPromoted
from yaoki.flag_store import FlagStore
from yaoki.flags import Endpoint, Route, RouteState
from yaoki.runs import ExecutorSettings, RunExecutor, RunState, StartRun
from yaoki.subjects import Subjects
from yaoki.testing import InMemoryPublisher
from yaoki.testing.simulation import Crash, CrashPoint, Process
from yaoki.testing.simulation import World as Shared

from .builders import config, failure
from .fakes import ScriptedServers
from .world import AgentWorker, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.plans import Order, Outcome

RUN = "run-1"
LIMIT_S = 1200.0
RESTORE_S = 1.0


class ReachedWorker:
    """An agent over the network: what was sent is carried out, even when the sender dies."""

    def __init__(self, worker: AgentWorker, process: Process, shared: Shared) -> None:
        self._worker = worker
        self._process = process
        self._network = shared.network

    async def perform(self, order: Order) -> Outcome:
        """See `Worker.perform`."""
        if self._process.passing(CrashPoint.COMMAND_SENT):
            self._network.later(lambda: self._worker.perform(order))
        return await self._network.call(self._process, lambda: self._worker.perform(order))

    async def ask(self, order: Order) -> Outcome | None:
        """See `Worker.ask`."""
        return await self._network.call(self._process, lambda: self._worker.ask(order))

    async def cancel(self, order: Order) -> Outcome:
        """See `Worker.cancel`."""
        return await self._network.call(self._process, lambda: self._worker.cancel(order))


class Stage:
    """Everything that outlives a recovery process. Make it inside of `run_virtually`.

    Attributes:
        cause: What is started.
    """

    def __init__(self, **world: Any) -> None:
        self.shared = Shared()
        self.clock = self.shared.clock
        self.publisher = InMemoryPublisher()
        self.flags = FlagStore(self.shared.bucket("flags"), self.publisher, self.clock)
        self.world = World(self.shared.bucket("clusters"), self.flags, self.clock, **world)
        self.cause: Callable[[], StartRun] = start
        self.workers = {f"agent-{name}": AgentWorker(self.world, server) for name, server in self.world.servers.items()}

    async def prepare(self) -> None:
        """The cluster serves from pg-a."""
        await self.world.found()
        endpoint = Endpoint(member="pg-a", host="127.0.0.1", port=5000)
        await self.flags.publish_route(
            Route(cluster="orders", state=RouteState.SERVING, primary=endpoint, since=self.clock.now())
        )

    async def route(self) -> Route:
        """As published."""
        found = await self.flags.route("orders")
        assert found is not None
        return found

    def instance(self, process: Process) -> tuple[RunExecutor, Restorer]:
        """One recovery process."""

        def reached(port: object) -> Any:
            return self.shared.reached_by(process, port)

        settings, clock, flags = config(), self.clock, reached(self.flags)
        actions: dict[str, Any] = {}
        executor = self.shared.executor(
            process,
            local={"recovery": actions},
            remote={name: ReachedWorker(worker, process, self.shared) for name, worker in self.workers.items()},
            settings=ExecutorSettings(),
        )
        clusters = settings.postgres_clusters
        members = ClusterMembers(clusters, reached(self.world))
        fence = Fence(reached(self.world.clusters), clock)
        servers, publisher = ScriptedServers(reachable=False), reached(self.publisher)
        database = DatabaseSteps(members, fence=fence, flags=flags, publisher=publisher, clock=clock)
        switchover = SwitchoverSteps(
            members, fence=fence, flags=flags, reinstate=database.reinstate_holder, clock=clock
        )
        actions |= {
            **CheckSteps(reached(self.world), clock).handlers(),
            **database.handlers(),
            **switchover.handlers(),
            **SessionSteps(clusters, {}, flags=flags, sessions=servers, clients=servers).handlers(),
            **SwitchSteps(flags, ClearanceStore(reached(self.shared.bucket("runs")))).handlers(),
            **EscalationSteps(
                settings,
                subjects=Subjects(),
                flags=flags,
                runs=executor,
                publisher=publisher,
                clock=clock,
            ).handlers(),
        }
        restorer = Restorer(settings, members=members, fence=fence, flags=flags, runs=executor, clock=clock)
        return executor, restorer

    def promotions(self) -> list[PrimaryPromoted]:
        """As published."""
        return [event for event in self.publisher.events if isinstance(event, PrimaryPromoted)]

    def escalations(self) -> list[EscalatedToHuman]:
        """As published."""
        return [event for event in self.publisher.events if isinstance(event, EscalatedToHuman)]


def start() -> StartRun:
    """What the failure starts."""
    plan = plan_for(config(), "orders-db", FailureType.DATABASE_CONNECTION, recheck=True)
    assert not isinstance(plan, NoPlan)
    return StartRun(
        run_kind="recovery",
        run_id=RUN,
        resource="orders",
        plan=plan,
        incident_id="incident-1",
        facts={"target": "orders-db", "failure": msgspec.to_builtins(failure())},
    )


async def rescue(
    stage: Stage,
    damage: Callable[[World], None],
    crash: Crash | None = None,
    afterwards: Callable[[Stage], Any] | None = None,
) -> tuple[RunState, bool]:
    """Damage the cluster, recover with an instance that may die, and with a second one that lives.

    Args:
        stage: Fresh.
        damage: What happens to the cluster.
        crash: How the first instance dies.
        afterwards: Awaited when the run has ended, while both instances go on.

    Returns:
        The run, and whether the first instance has died.
    """
    await stage.prepare()
    first, second = Process("recovery-1", crash), Process("recovery-2")
    watched = [asyncio.create_task(stage.world.live())]
    damage(stage.world)
    survivor, restorer = stage.instance(second)
    mortal, other = stage.instance(first)
    tasks = [asyncio.create_task(_live(mortal, stage)), asyncio.create_task(_restore(other, stage))]
    watched += [asyncio.create_task(survivor.supervise()), asyncio.create_task(_restore(restorer, stage))]
    story = asyncio.create_task(_story(stage, survivor, afterwards))
    try:
        async with asyncio.timeout(LIMIT_S):
            await asyncio.wait({story, *watched}, return_when=asyncio.FIRST_COMPLETED)
            for task in watched:
                if task.done():
                    task.result()
            stage.world.assert_one_primary()
            return await story, first.dead
    finally:
        await _end(story, *watched, *tasks)


async def _story(stage: Stage, executor: RunExecutor, afterwards: Callable[[Stage], Any] | None) -> RunState:
    while await executor.view(RUN) is None:
        # The first instance died before anything was stored: the failure is delivered to another one.
        await asyncio.sleep(5.0)
        await executor.start(stage.cause())
    run = await executor.finished(RUN)
    if afterwards is not None:
        await afterwards(stage)
    return run


async def _live(executor: RunExecutor, stage: Stage) -> None:
    await executor.start(stage.cause())
    await executor.supervise()


async def _restore(restorer: Restorer, stage: Stage) -> None:
    while True:
        await restorer.look()
        await stage.clock.sleep(RESTORE_S)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    everything = asyncio.all_tasks() - {asyncio.current_task()}
    for task in (*tasks, *everything):
        task.cancel()
    for task in everything:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


def crashed(world: World) -> None:
    """The server is gone, its agent alive."""
    world.crash("pg-a")


def hung(world: World) -> None:
    """The server runs and answers nobody."""
    world.servers["pg-a"].hung = True


def lonely(world: World) -> None:
    """The agent is gone; the server goes on until its watchdog stops it."""
    server = world.servers["pg-a"]
    server.agent_alive = False
    server.hung = True


def cut_off(world: World) -> None:
    """The host is cut off: its server serves whom it reaches for as long as its lease, longer than anybody waits."""
    server = world.servers["pg-a"]
    server.agent_alive = False
    server.unreachable = True


def nothing(_: World) -> None:
    """All is well."""


ALL_DAMAGE = (crashed, hung, lonely, cut_off)

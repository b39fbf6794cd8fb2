"""Wires the recovery service; the only place that opens connections."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final

from yaoki.clock import SystemClock, Uuid7Source
from yaoki.commands.recovery import (
    AcknowledgeFailure,
    ListRuns,
    PauseAutomation,
    ResumeAutomation,
    RunChain,
    RunHistory,
    ShowAutomation,
    ShowRun,
    SteerRun,
    SwitchOver,
)
from yaoki.config.connect import nats_settings
from yaoki.errors import YaokiError
from yaoki.flag_store import FlagStore
from yaoki.hands import hand_actions
from yaoki.http import HttpServer, standard_routes
from yaoki.maintenance import BUCKET as SLO
from yaoki.messaging import Messaging
from yaoki.runs import (
    DurableWorker,
    ExecutorSettings,
    LocalWorker,
    NatsJournal,
    OrderTable,
    RemoteWorker,
    RunExecutor,
    RunLeases,
    RunRegistry,
    Workers,
)
from yaoki.telemetry import get_logger, setup_telemetry
from yaoki.topology import RECOVERY_LISTENS

from recovery.adapters.hands import recovery_hands
from recovery.adapters.history import NatsRunStarts
from recovery.adapters.kubernetes import DeploymentCapacities
from recovery.adapters.load import PrometheusLoad
from recovery.adapters.postgres import AsyncpgSessions
from recovery.adapters.redis import RedisConnections
from recovery.adapters.sentinel import RedisSentinels
from recovery.adapters.services import NatsAgents, NatsApplications, NatsProber
from recovery.autoscaler import Autoscaler
from recovery.clearances import ClearanceStore
from recovery.cluster_members import ClusterMembers
from recovery.controls import ControlHandlers
from recovery.fencing import Fence
from recovery.guard_book import GuardBook
from recovery.guarding import Guards
from recovery.hand_steps import HANDS
from recovery.handlers import FailureHandlers, OrderHandlers, on_run_finished
from recovery.incidents import Incidents
from recovery.initial_routes import InitialRoutes
from recovery.intake import RUN_KIND
from recovery.maintenance_gate import MaintenanceGate
from recovery.restorer import Restorer
from recovery.sentinel_routes import SentinelRoutes
from recovery.steps.applications import ApplicationSteps
from recovery.steps.cache import CacheSteps
from recovery.steps.checks import CheckSteps
from recovery.steps.database import DatabaseSteps
from recovery.steps.escalating import EscalationSteps
from recovery.steps.fallback import FallbackSteps
from recovery.steps.sentinel import SentinelSteps
from recovery.steps.sessions import SessionSteps
from recovery.steps.switches import SwitchSteps
from recovery.steps.switchover import SwitchoverSteps
from recovery.switching import SwitchoverHandlers
from recovery.waiting_failures import WaitingFailures

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.config import Config
    from yaoki.runs import RunState
    from yaoki.runs.actions import Handler
    from yaoki.runs.decisions import Hold

SERVICE: Final = "recovery"
_LOOK_S: Final = 0.5
_REST: Final = 4.0
"""So many times as long as a look took it rests before the next."""
_LONGEST_REST_S: Final = 5.0
_RESTORE_S: Final = 1.0
_AUDIT_S: Final = 30.0
_log = get_logger(__name__)


async def run_recovery(config: Config, instance: str) -> None:
    """Repair what fails until cancelled; then hand unfinished runs over to other instances and close."""
    async with AsyncExitStack() as stack:
        telemetry = setup_telemetry(SERVICE, instance, config.telemetry, secrets=config.secrets())
        stack.callback(telemetry.shutdown)
        reasons = ["NATS is not connected yet"]
        await _serve_http(stack, config, reasons)
        messaging = await stack.enter_async_context(
            Messaging.connect(nats_settings(config.nats), service=SERVICE, instance=instance)
        )
        await _Wiring(config, instance, messaging).run(reasons)


async def _serve_http(stack: AsyncExitStack, config: Config, reasons: list[str]) -> None:
    if config.recovery.http is None:
        return
    server = HttpServer(standard_routes(lambda: reasons), config.recovery.http)
    await server.start()
    stack.push_async_callback(server.stop)


class _Wiring:
    """Everything of one process, connected."""

    def __init__(self, config: Config, instance: str, messaging: Messaging) -> None:
        self._config = config
        self._messaging = messaging
        self._clock = SystemClock()
        self._ids = Uuid7Source()
        self._flags = FlagStore(messaging.kv("flags"), messaging.publisher, self._clock)
        self._clearances = ClearanceStore(messaging.kv("runs"))
        self._fence = Fence(messaging.kv("clusters"), self._clock)
        self._agents = NatsAgents(messaging)
        self._members = ClusterMembers(config.postgres_clusters, self._agents)
        self._sentinels = RedisSentinels()
        self._gate = MaintenanceGate(messaging.kv(SLO), messaging.subjects, self._clock)
        self._guards = Guards(config, GuardBook(messaging.kv("runs")), self._clock)
        self._database = DatabaseSteps(
            self._members, fence=self._fence, flags=self._flags, publisher=messaging.publisher, clock=self._clock
        )
        self._switchover = SwitchoverSteps(
            self._members,
            fence=self._fence,
            flags=self._flags,
            reinstate=self._database.reinstate_holder,
            clock=self._clock,
        )
        actions: dict[str, Handler] = {}
        self._executor = RunExecutor(
            run_kind=RUN_KIND,
            instance=instance,
            journal=NatsJournal(messaging.client, messaging.subjects, source=f"/{SERVICE}/{instance}"),
            workers=Workers(
                {SERVICE: LocalWorker(actions), HANDS: self._hands(instance)},
                remote=lambda name: RemoteWorker(messaging, name),
            ),
            registry=RunRegistry(messaging.kv("runs")),
            leases=RunLeases(messaging.kv("leases")),
            clock=self._clock,
            ids=self._ids,
            settings=ExecutorSettings(),
            gate=self._hold,
        )
        self._incidents = Incidents(
            config,
            executor=self._executor,
            clearances=self._clearances,
            waiting=WaitingFailures(messaging.kv("runs")),
            guards=self._guards,
            publisher=messaging.publisher,
            subjects=messaging.subjects,
            clock=self._clock,
        )
        # The last step of a chain reads its own run, so the actions come after the executor that carries them out.
        actions.update(self._actions())

    async def run(self, reasons: list[str]) -> None:
        """Handle messages and drive runs until cancelled."""
        self._register()
        self._executor.on_finished(self._on_run_finished)
        await self._gate.begin()
        with suppress(YaokiError):  # pauses and the brake are known before the first failure is; else by the first look
            await self._guards.refresh()
        await self._messaging.start()
        tasks = (
            asyncio.create_task(self._gate.follow(), name="planned maintenance"),
            asyncio.create_task(self._executor.supervise(), name="supervise runs"),
            asyncio.create_task(self._look_after_incidents(), name="incidents"),
            asyncio.create_task(self._audit(), name="audit"),
            asyncio.create_task(self._publish_initial_routes(), name="initial routes"),
            asyncio.create_task(self._follow_load(), name="load"),
            asyncio.create_task(self._follow_sentinels(), name="sentinels"),
            asyncio.create_task(self._restore_service(), name="restorer"),
            asyncio.create_task(self._watch_readiness(reasons), name="readiness"),
        )
        _log.info("recovery is ready", targets=len(self._config.targets))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await self._executor.stop()
            await self._sentinels.close()

    def _hold(self, run: RunState, now: datetime, /) -> Hold | None:
        """Planned maintenance and the guards both hold disruptive actions back."""
        return self._gate(run, now) or self._guards.gate(run, now)

    async def _on_run_finished(self, run: RunState) -> None:
        await on_run_finished(run)
        await self._guards.note_end(run)

    def _hands(self, instance: str) -> DurableWorker:
        """What may happen only once has to be remembered where another instance finds it."""
        hands = hand_actions(recovery_hands(self._config.recovery, self._clock))
        return DurableWorker(hands, OrderTable(self._messaging.kv("commands"), worker=HANDS, instance=instance))

    def _actions(self) -> dict[str, Handler]:
        config, flags, clock, agents = self._config, self._flags, self._clock, self._agents
        clusters, groups = config.postgres_clusters, config.redis_groups
        publisher, sessions, redis = self._messaging.publisher, AsyncpgSessions(), RedisConnections()
        sentinels = SentinelSteps(groups, sentinels=self._sentinels, clients=redis, flags=flags, clock=clock)
        return {
            **CheckSteps(NatsProber(self._messaging, clock), clock).handlers(),
            **self._database.handlers(),
            **self._switchover.handlers(),
            **FallbackSteps(clusters, flags=flags, sessions=sessions, clock=clock).handlers(),
            **CacheSteps(groups, agents=agents, flags=flags, clock=clock).handlers(),
            **sentinels.handlers(),
            **SessionSteps(clusters, groups, flags=flags, sessions=sessions, clients=redis).handlers(),
            **ApplicationSteps(NatsApplications(self._messaging)).handlers(),
            **SwitchSteps(flags, self._clearances).handlers(),
            **EscalationSteps(
                config,
                subjects=self._messaging.subjects,
                flags=flags,
                runs=self._executor,
                publisher=publisher,
                clock=clock,
            ).handlers(),
        }

    def _register(self) -> None:
        failures = FailureHandlers(
            self._incidents,
            clearances=self._clearances,
            flags=self._flags,
            flags_bucket=self._messaging.kv("flags"),
        )
        orders = OrderHandlers(
            self._config,
            executor=self._executor,
            incidents=self._incidents,
            orders=self._messaging,
            subjects=self._messaging.subjects,
            clock=self._clock,
            ids=self._ids,
        )
        self._messaging.on(
            durable="recovery-failures",
            types=RECOVERY_LISTENS,
            handler=failures.on_failure_event,
        )
        # What any consumer gave up silently is put aside here, where people are called; two instances share the work.
        self._messaging.watch_advisories()
        self._messaging.on_commands(RunChain, orders.on_run_ordered)
        self._messaging.on_commands(SteerRun, orders.on_steer_ordered)
        self._messaging.serve(RunChain, orders.run)
        self._messaging.serve(ListRuns, orders.list)
        self._messaging.serve(ShowRun, orders.show)
        self._messaging.serve(SteerRun, orders.steer)
        controls = ControlHandlers(
            self._config,
            guards=self._guards,
            starts=NatsRunStarts(self._messaging.client, self._messaging.subjects, RUN_KIND),
            runs=self._executor,
            publisher=self._messaging.publisher,
            clock=self._clock,
        )
        switching = SwitchoverHandlers(
            self._config,
            looks=self._switchover,
            guards=self._guards,
            flags=self._flags,
            runs=self._executor,
            subjects=self._messaging.subjects,
            clock=self._clock,
            ids=self._ids,
        )
        self._messaging.serve(SwitchOver, switching.order)
        self._messaging.serve(PauseAutomation, controls.pause)
        self._messaging.serve(ResumeAutomation, controls.resume)
        self._messaging.serve(ShowAutomation, controls.state)
        self._messaging.serve(RunHistory, controls.history)
        self._messaging.serve(AcknowledgeFailure, controls.acknowledge)

    async def _look_after_incidents(self) -> None:
        while True:
            began = self._clock.monotonic()
            try:
                await self._incidents.look()
            except YaokiError as error:
                _log.warning("incidents left for the next look", error=error.message)
            # A look reads every open failure. In a storm it must not take the time from those that still arrive.
            took_s = self._clock.monotonic() - began
            await self._clock.sleep(min(max(_LOOK_S, _REST * took_s), _LONGEST_REST_S))

    async def _audit(self) -> None:
        while True:
            await self._clock.sleep(_AUDIT_S)
            try:
                await self._incidents.audit()
            except YaokiError as error:
                _log.warning("open failures not audited this time", error=error.message)

    async def _publish_initial_routes(self) -> None:
        routes = InitialRoutes(
            self._config, fence=self._fence, agents=self._agents, flags=self._flags, clock=self._clock
        )
        while not routes.complete:
            with suppress(YaokiError):  # NATS or an agent is away, or a run has just published: look again
                await routes.publish()
            await self._clock.sleep(_LOOK_S)

    async def _follow_load(self) -> None:
        autoscaler = Autoscaler(
            self._config,
            readings=PrometheusLoad(),
            capacities=DeploymentCapacities(self._config.recovery.kubernetes),
            executor=self._executor,
            guards=self._guards,
            in_maintenance=self._gate.is_open,
            clock=self._clock,
        )
        while autoscaler.needed:
            await autoscaler.look()
            await self._clock.sleep(_RESTORE_S)

    async def _follow_sentinels(self) -> None:
        routes = SentinelRoutes(self._config, sentinels=self._sentinels, flags=self._flags, clock=self._clock)
        while routes.needed:
            await routes.look()
            await self._clock.sleep(_LOOK_S)

    async def _restore_service(self) -> None:
        restorer = Restorer(
            self._config,
            members=self._members,
            fence=self._fence,
            flags=self._flags,
            runs=self._executor,
            clock=self._clock,
        )
        while True:
            with suppress(YaokiError):  # NATS is away: look again
                await restorer.look()
            await self._clock.sleep(_RESTORE_S)

    async def _watch_readiness(self, reasons: list[str]) -> None:
        while True:
            reasons[:] = self._messaging.healthy()
            await self._clock.sleep(_LOOK_S)

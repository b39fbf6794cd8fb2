"""Instances follow the load through a run: a server that speaks as Kubernetes does, and one as Prometheus does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from recovery.adapters.kubernetes import DeploymentCapacities, ScaleDeployment
from recovery.adapters.load import PrometheusLoad
from recovery.autoscaler import Autoscaler
from recovery.guard_book import GuardBook, OpenFailure
from recovery.guarding import Guards
from recovery.hand_steps import HANDS
from recovery.scaling import Load
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from yaoki.clock import SystemClock, Uuid7Source
from yaoki.config import Application, Config, KubernetesSettings, LoadQueries, RecoverySection, Scaling, Secret
from yaoki.errors import RejectedError, TransientError
from yaoki.hands import hand_actions
from yaoki.runs import InMemoryJournal, LocalWorker, RunExecutor, RunLeases, RunRegistry, Workers
from yaoki.testing import InMemoryKeyValue

from .builders import T0, config, failure
from .fakes import HandClock
from .http_servers import served
from .test_kubernetes import ApiServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from starlette.requests import Request

CPU, REQUESTS = "avg(cpu)", "sum(requests)"


class Prometheus:
    """The instant queries of its HTTP API."""

    def __init__(self) -> None:
        self.series: dict[str, list[str]] = {CPU: ["140"], REQUESTS: ["900"]}
        self.status = 200

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/api/v1/query", self._query)])

    async def _query(self, request: Request) -> Response:
        samples = [{"metric": {}, "value": [1.0, text]} for text in self.series[request.query_params["query"]]]
        data = {"resultType": "vector", "result": samples}
        return JSONResponse({"status": "success", "data": data}, self.status)


class World:
    """An application of three instances, and everything that watches it."""

    def __init__(self, kubernetes: ApiServer, kubernetes_url: str, prometheus: Prometheus, prometheus_url: str) -> None:
        self.kubernetes = kubernetes
        self.prometheus = prometheus
        self.clock = HandClock()
        self.in_maintenance = False
        self.queries = LoadQueries(prometheus=prometheus_url, cpu=CPU, requests=REQUESTS, every=60.0)
        self.settings = self._settings(kubernetes_url)
        section = self.settings.recovery
        self.guards = Guards(self.settings, GuardBook(InMemoryKeyValue()), self.clock)
        hands = hand_actions((ScaleDeployment(section.kubernetes, section.applications, self.clock),))
        self.executor = RunExecutor(
            run_kind="recovery",
            instance="recovery-1",
            journal=InMemoryJournal(),
            workers=Workers({HANDS: LocalWorker(hands)}),
            registry=RunRegistry(InMemoryKeyValue()),
            leases=RunLeases(InMemoryKeyValue()),
            clock=SystemClock(),
            ids=Uuid7Source(),
        )
        self.autoscaler = Autoscaler(
            self.settings,
            readings=PrometheusLoad(),
            capacities=DeploymentCapacities(section.kubernetes),
            executor=self.executor,
            guards=self.guards,
            in_maintenance=self._in_maintenance,
            clock=self.clock,
        )

    def _settings(self, url: str) -> Config:
        kubernetes = KubernetesSettings(url=url, token=Secret("env:K8S", "t0ken"), deployments=("shop/orders",))
        scaling = Scaling(kubernetes="prod", deployment="shop/orders", load=self.queries)
        application = Application(targets=("orders-db",), scaling=scaling)
        return config(recovery=RecoverySection(applications={"orders": application}, kubernetes={"prod": kubernetes}))

    def _in_maintenance(self, target: str, now: datetime) -> bool:
        assert target == "orders-db"
        assert now >= T0
        return self.in_maintenance

    @property
    def pods(self) -> int:
        """As ordered."""
        return int(self.kubernetes.document["spec"]["replicas"])

    async def pass_time(self, seconds: float) -> list[str]:
        """Look every minute, and let every run that begins come to its end; the runs, in their order."""
        runs: list[str] = []
        for _ in range(int(seconds / 60)):
            await self.autoscaler.look()
            for view in await self.executor.unfinished():
                await self.executor.finished(view.run_id)
                runs.append(view.run_id)
            self.clock.forward(60)
        return runs


@pytest.fixture
async def world() -> AsyncIterator[World]:
    kubernetes, prometheus = ApiServer(), Prometheus()
    async with served(kubernetes.app()) as kubernetes_url, served(prometheus.app()) as prometheus_url:
        found = World(kubernetes, kubernetes_url, prometheus, prometheus_url)
        async with _supervised(found.executor):
            yield found


@asynccontextmanager
async def _supervised(executor: RunExecutor) -> AsyncIterator[None]:
    task = asyncio.create_task(executor.supervise())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_more_while_the_load_is_high_and_one_fewer_long_after_it_fell(world: World) -> None:
    """Three at 140 % become six; the cooldown keeps that; ten quiet minutes take one away."""
    out = await world.pass_time(120)
    most = world.pods
    still = await world.pass_time(120)
    world.prometheus.series[CPU] = ["10"]
    early = await world.pass_time(600)
    late = await world.pass_time(60)

    assert [run.rpartition("-2")[0] for run in (*out, *late)] == ["scale-out-orders", "scale-in-orders"]
    assert (most, still, early, world.pods) == (6, [], [], 5)


async def test_nothing_is_taken_away_in_ignorance_in_a_failure_or_in_maintenance(world: World) -> None:
    """Each of them begins the waiting time anew."""
    world.prometheus.series = {CPU: ["10"], REQUESTS: []}
    ignorant = await world.pass_time(720)
    world.prometheus.series[REQUESTS] = ["900"]
    world.in_maintenance = True
    maintained = await world.pass_time(720)
    world.in_maintenance = False
    opened = OpenFailure(failure=failure(), sequence=1, since=T0)
    await world.guards.opened(opened)
    await world.guards.refresh()
    failed = await world.pass_time(720)

    assert (ignorant, maintained, failed, world.pods) == ([], [], [], 3)


async def test_a_prometheus_that_is_away_or_answers_nonsense_changes_nothing(world: World) -> None:
    """What one number is must be plain: several series are a mistake in the query, and NaN is unknown."""
    world.prometheus.status = 503
    away = await world.pass_time(120)
    with pytest.raises(TransientError, match="answers 503"):
        await PrometheusLoad().read(world.queries)
    world.prometheus.status = 200
    world.prometheus.series = {CPU: ["NaN"], REQUESTS: ["1", "2"]}
    with pytest.raises(RejectedError, match="answers 2 series, expected one"):
        await PrometheusLoad().read(world.queries)
    world.prometheus.series[REQUESTS] = ["60"]

    assert await PrometheusLoad().read(world.queries) == Load(requests_per_minute=60.0)
    assert (away, world.pods) == ([], 3)
    nowhere: Any = msgspec.structs.replace(world.queries, prometheus="http://127.0.0.1:9")
    with pytest.raises(TransientError, match="Prometheus at"):
        await PrometheusLoad().read(nowhere)

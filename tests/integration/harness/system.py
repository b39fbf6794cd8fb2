"""NATS, PostgreSQL and Redis, with agents, a prober and any number of recovery instances as processes."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import yaml
from nats.js.errors import NotFoundError
from yaoki.events.base import Event
from yaoki.events.runs import RunFinished, RunStarted
from yaoki.flags import Route, RouteState, Switch, maintenance_key, route_key
from yaoki.leases import ClusterLease
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import provision
from yaoki.testing import eventually, patient
from yaoki_devstack import ports
from yaoki_devstack.nats import NatsServer
from yaoki_devstack.postgres_cluster import PostgresCluster
from yaoki_devstack.redis import RedisServer
from yaoki_devstack.services import ProcessGroup

from .configuration import CLUSTER, GROUP, SECRETS, configuration
from .isolation import Isolation

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from yaoki.commands.base import Request
    from yaoki_devstack.postgres import PostgresServer

E = TypeVar("E", bound=Event)

_PROBER = "prober"
_START_S = 30.0
_LOG_TAIL = 8000


class RescueSystem:
    """Starts everything on entry, kills everything on exit.

    Args:
        standbys: Of the PostgreSQL cluster; None leaves PostgreSQL out.
        synchronous: Commits wait for one standby.
        redis: Whether there is a Redis master with a replica.
        recoveries: Instances of the recovery service.
        cluster: Keys of the cluster's configuration that differ.
        recovery: Keys of recovery's section that differ.
        fault: `YAOKI_FAULT` of the first recovery instance.
        agent_faults: `YAOKI_FAULT` of agents, by their server's name.
        isolated: The first PostgreSQL's host can be cut off; see `isolation`.

    Attributes:
        isolation: Cuts the first PostgreSQL's host off, when `isolated`.
    """

    def __init__(
        self,
        *,
        standbys: int | None = 1,
        synchronous: bool = True,
        redis: bool = False,
        recoveries: int = 1,
        cluster: dict[str, Any] | None = None,
        recovery: dict[str, Any] | None = None,
        fault: str = "",
        agent_faults: dict[str, str] | None = None,
        isolated: bool = False,
    ) -> None:
        self.nats = NatsServer()
        self.postgres = None if standbys is None else PostgresCluster(standbys=standbys, synchronous=synchronous)
        self._redis_wanted = redis
        self.redis: list[RedisServer] = []
        self._recoveries = [f"recovery-{number + 1}" for number in range(recoveries)]
        self._cluster = {"synchronous": 1 if synchronous else 0, **(cluster or {})}
        self._recovery = recovery or {}
        self._fault = fault
        self._agent_faults = agent_faults or {}
        self._isolated = isolated
        self.isolation: Isolation | None = None
        self._stack = AsyncExitStack()
        self.processes = ProcessGroup(environment=SECRETS)

    # -- life

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._show_logs()
        await self._stack.aclose()
        await self._end()

    async def _start(self) -> None:
        await self._stack.enter_async_context(self.nats)
        if self._redis_wanted:
            master = RedisServer(name="redis1")
            self.redis = [master, RedisServer(name="redis2", replica_of=master)]
        await asyncio.gather(
            *([self.postgres.prepare()] if self.postgres else []), *(node.prepare() for node in self.redis)
        )
        await self._write_configuration()
        settings = NatsSettings(servers=(self.nats.url,), require_sync=False)
        await provision(settings)
        self.messaging = await self._stack.enter_async_context(
            Messaging.connect(settings, service="test", instance="test-1")
        )
        for node in self.servers:
            self.start_agent(node, fault=self._agent_faults.get(node, ""))
        await self._wait_servers()
        self.processes.start(_PROBER, self._argv("health_probe", "--role", "prober"))
        for index, instance in enumerate(self._recoveries):
            self.start_recovery(instance, fault=self._fault if index == 0 else "")
        await self._wait_ready()

    async def _end(self) -> None:
        await self.processes.close()
        if self.postgres:
            await self.postgres.kill()
            self.postgres.discard()
        for node in self.redis:
            await node.kill()
            node.discard()

    @property
    def servers(self) -> list[str]:
        """Names of all guarded servers; their agents have the same."""
        return [node.name for node in (*self.nodes, *self.redis)]

    @property
    def nodes(self) -> list[PostgresServer]:
        """The PostgreSQL servers."""
        return self.postgres.nodes if self.postgres else []

    async def _write_configuration(self) -> None:
        leases = {node.name: ports.lease() for node in self.nodes}
        for lease in leases.values():
            self._stack.callback(lease.release)
        failsafe = {name: lease.number for name, lease in leases.items()}
        document = configuration(
            directory=self.processes.directory,
            nats=self.nats,
            postgres=self.nodes,
            redis=self.redis,
            failsafe_ports=list(failsafe.values()),
            overrides=self._cluster,
            recovery=self._recovery,
        )
        if self._isolated:
            self.isolation = Isolation(self.nodes[0], self.nats, failsafe)
            await self._stack.enter_async_context(self.isolation)
            self._isolated_file.write_text(yaml.safe_dump(self.isolation.inside(document)), encoding="utf-8")
            document = self.isolation.outside(document, CLUSTER)
        self.file.write_text(yaml.safe_dump(document), encoding="utf-8")

    @property
    def file(self) -> Path:
        """The generated `yaoki.yaml`."""
        return self.processes.directory / "yaoki.yaml"

    @property
    def _isolated_file(self) -> Path:
        return self.processes.directory / "isolated.yaml"

    def start_agent(self, name: str, *, fault: str = "") -> None:
        """Start the agent of a server, with `YAOKI_FAULT` set when a fault is given."""
        apart = self.isolation is not None and name == self.nodes[0].name
        argv = self._argv("health_probe", "--role", "agent", "--agent", name, apart=apart)
        self.processes.start(f"agent-{name}", argv, {"YAOKI_FAULT": fault} if fault else {})

    def start_recovery(self, instance: str, *, fault: str = "") -> None:
        """Start an instance of recovery, with `YAOKI_FAULT` set when a fault is given."""
        environment = {"YAOKI_FAULT": fault} if fault else {}
        self.processes.start(instance, self._argv("recovery", "--instance", instance), environment)

    def start_slo(self, instance: str = "slo-1") -> None:
        """Start an instance of the slo role, which takes announcements of maintenance."""
        self.processes.start(instance, self._argv("health_probe", "--role", "slo", "--instance", instance))

    def _argv(self, module: str, *arguments: str, apart: bool = False) -> list[str]:
        file = self._isolated_file if apart else self.file
        return [sys.executable, "-m", module, "--config", str(file), *arguments]

    async def _wait_servers(self) -> None:
        await asyncio.gather(*(node.wait_ready(within=_START_S) for node in (*self.nodes, *self.redis)))
        if self.postgres:
            await self.postgres.wait_streaming(within=_START_S)

    async def _wait_ready(self) -> None:
        wanted = [*([CLUSTER] if self.postgres else []), *([GROUP] if self.redis else [])]

        async def routed() -> bool:
            dead = [name for name in self.processes.names() if not self.processes.running(name)]
            assert not dead or self._fault, f"{dead[0]} ended: {self.processes.tail(dead[0])}"
            return all([await self.route(name) is not None for name in wanted])

        await eventually(routed, within=_START_S)

    # -- eyes

    async def route(self, cluster: str = CLUSTER) -> Route | None:
        """The published route."""
        entry = await self.messaging.kv("flags").get(route_key(cluster))
        return None if entry is None or entry.value is None else msgspec.json.decode(entry.value, type=Route)

    async def wait_primary(self, member: str, *, cluster: str = CLUSTER, within: float = 30.0) -> Route:
        """The route that serves from `member`, as soon as it is published."""

        async def serving() -> Route | None:
            route = await self.route(cluster)
            found = route is not None and route.primary is not None and route.primary.member == member
            return route if route is not None and found and route.state is RouteState.SERVING else None

        found = await eventually(serving, within=within, poll=0.05)
        assert found is not None
        return found

    async def lease(self) -> ClusterLease:
        """The lease record of the PostgreSQL cluster."""
        entry = await self.messaging.kv("clusters").get(CLUSTER)
        assert entry is not None
        assert entry.value is not None
        return msgspec.json.decode(entry.value, type=ClusterLease)

    async def maintenance(self) -> Switch | None:
        """The maintenance switch of all applications."""
        entry = await self.messaging.kv("flags").get(maintenance_key())
        return None if entry is None or entry.value is None else msgspec.json.decode(entry.value, type=Switch)

    async def events(self, kind: type[E]) -> list[E]:
        """All stored events of one type, oldest first."""
        subject = self.messaging.subjects.events(event=kind.event_name())
        found: list[E] = []
        sequence = 1
        while True:
            try:
                message = await self.messaging.jetstream.get_msg("EVENTS", sequence, subject=subject, next=True)
            except NotFoundError:
                return found
            found.append(msgspec.json.decode(message.data or b"", type=kind))
            sequence = (message.seq or 0) + 1

    async def finished(self, *, within: float = 60.0) -> RunFinished:
        """The first run's ending."""

        async def ended() -> list[RunFinished]:
            return await self.events(RunFinished)

        return (await eventually(ended, within=within, poll=0.2))[0]

    async def started(self, *, within: float = 30.0) -> RunStarted:
        """The first run, as soon as there is one."""

        async def began() -> list[RunStarted]:
            return await self.events(RunStarted)

        return (await eventually(began, within=within, poll=0.1))[0]

    async def ask(self, request: Request, *, service: str | None = None) -> Any:
        """Send a request and return the reply."""
        return await self.messaging.request(request, service=service, timeout_s=patient(5))

    def _show_logs(self) -> None:
        for name in self.processes.names():
            sys.stderr.write(f"\n--- {name}\n{self.processes.tail(name)}\n")
        for node in (*self.nodes, *self.redis):
            sys.stderr.write(f"\n--- {node.name}\n{node.log_text()[-_LOG_TAIL:]}\n")

"""A guarded cluster: real PostgreSQL directories, a real NATS, each agent a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio
import yaml
from health_probe.agent import processes
from health_probe.agent.durable import boottime
from health_probe.agent.lease import founding
from nats.js.errors import NotFoundError
from yaoki.clock import SystemClock
from yaoki.commands.agent import AgentStatus, AgentStatusQuery
from yaoki.commands.worker import PerformOrder
from yaoki.errors import ConflictError, TransientError
from yaoki.events.agent import ServerStopped
from yaoki.leases import BUCKET, ClusterLease, Member
from yaoki.messaging import Messaging
from yaoki.messaging.settings import NatsSettings
from yaoki.plans import Order, Outcome, Phase
from yaoki.provision import provision
from yaoki.testing import eventually, patient
from yaoki_devstack.nats import NatsServer
from yaoki_devstack.ports import PortLease
from yaoki_devstack.ports import lease as lease_port
from yaoki_devstack.postgres_cluster import PostgresCluster
from yaoki_devstack.process import spawn

from .virtual_time import virtual_time

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Awaitable, Callable

    from yaoki.epoch import Epoch
    from yaoki_devstack.postgres import PostgresServer

CLUSTER = "orders"
# A machine that stands still for a second, between any two renewals, must not end a lease that the test relies on.
TTL_S = 2.5
MARGIN_S = 0.75
_LETTERS = "abcdef"


class AgentProcess:
    """One agent as `python -m health_probe --role agent`."""

    def __init__(self, name: str, config_file: Path, directory: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.state_directory = directory
        self._config_file = config_file
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        self._process = spawn(
            [
                sys.executable,
                "-m",
                "health_probe",
                "--config",
                self._config_file,
                "--role",
                "agent",
                "--agent",
                self.name,
            ],
            cwd=Path("/"),
            log_file=self.state_directory.with_name(f"{self.name}.log"),
            environment=self._environment,
        )

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """What it wrote."""
        return self.state_directory.with_name(f"{self.name}.log").read_text(encoding="utf-8", errors="replace")

    def watchdog_pid(self) -> int:
        """Of its watchdog, by its command line."""
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if not entry.name.isdigit():
                    continue
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"health_probe.agent.watchdog_main" in words and str(self.state_directory).encode() in words:
                    return int(entry.name)
        raise AssertionError(f"{self.name} has no watchdog")

    def has_watchdog(self) -> bool:
        """Whether a watchdog of it lives."""
        with contextlib.suppress(AssertionError):
            return bool(self.watchdog_pid())
        return False

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to the agent alone."""
        os.kill(self.pid, signum)

    def kill(self) -> None:
        """SIGKILL the agent alone; its server and watchdog stay."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Wait for its end and return its status."""
        assert self._process is not None
        return self._process.wait(timeout=patient(30))

    def end(self) -> None:
        """Whatever is left of it and its watchdog is killed."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(AssertionError, ProcessLookupError):
            os.kill(self.watchdog_pid(), signal.SIGKILL)


class Guarded:
    """The cluster `orders` with its agents, its NATS, and the hand of a coordinator."""

    def __init__(self, postgres: PostgresCluster, nats: NatsServer, messaging: Messaging) -> None:
        self.postgres = postgres
        self.nats = nats
        self.messaging = messaging
        self.agents: dict[str, AgentProcess] = {}
        self.nodes: dict[str, PostgresServer] = {}
        self.failsafe_ports: dict[str, PortLease] = {}
        self.ttl_s = TTL_S
        self.margin_s = MARGIN_S

    # -- the record

    async def entry(self) -> tuple[ClusterLease, int] | None:
        """The lease record with its revision."""
        entry = await self.messaging.kv(BUCKET).get(CLUSTER)
        if entry is None or entry.value is None:
            return None
        return msgspec.json.decode(entry.value, type=ClusterLease), entry.revision

    async def record(self) -> ClusterLease:
        """The lease record."""
        found = await self.entry()
        assert found is not None, "there is no lease record"
        return found[0]

    async def revoke(self, epoch: Epoch, run: str = "run-1") -> float:
        """As the coordinator does; returns CLOCK_BOOTTIME of its success."""
        while True:
            found = await self.entry()
            assert found is not None
            record = msgspec.structs.replace(found[0], revoked_by=run, revoked_epoch=epoch)
            with contextlib.suppress(ConflictError):
                await self.messaging.kv(BUCKET).update(CLUSTER, msgspec.json.encode(record), revision=found[1])
                return boottime()

    # -- the agents

    async def status(self, member: str) -> AgentStatus | None:
        """What the member's agent answers."""
        try:
            reply: AgentStatus = await self.messaging.request(
                AgentStatusQuery(), service=f"agent-{member}", timeout_s=patient(2.0)
            )
        except TransientError:
            return None
        return reply

    async def wait_status(self, member: str, **expected: object) -> AgentStatus:
        """What the member's agent answers, as soon as these fields of it are as expected."""

        async def reached() -> AgentStatus:
            status = await self.status(member)
            assert status is not None, f"the agent of {member} does not answer"
            assert {name: getattr(status, name) for name in expected} == expected
            return status

        found = await eventually(reached, within=30)
        assert found is not None
        return found

    async def order(self, member: str, action: str, epoch: Epoch, **params: Any) -> Outcome:
        """Give an order as a run does and return its outcome."""
        timeout_s = patient(20)
        order = Order(
            command_id=uuid4().hex,
            run_kind="recovery",
            run_id="run-1",
            resource=CLUSTER,
            step=action.partition(".")[2],
            phase=Phase.DO,
            action=action,
            params=params,
            epoch=epoch,
            expires_at=SystemClock().now() + timedelta(seconds=timeout_s),
        )
        reply = await self.messaging.request(
            PerformOrder(order=order), service=f"agent-{member}", timeout_s=timeout_s + 2
        )
        outcome: Outcome = reply.outcome
        return outcome

    def processes(self, member: str) -> frozenset[int]:
        """Pids of the member's server."""
        return processes.working_in(self.nodes[member].data_dir)

    async def serves(self, member: str) -> bool:
        """Whether the member is primary, holds the lease, and commits."""
        status = await self.status(member)
        return status is not None and status.holder and status.role == "primary" and await self.writes(member)

    async def streams(self, member: str) -> bool:
        """Whether the member is a standby in step with its primary."""
        status = await self.status(member)
        return status is not None and status.role == "standby" and status.upstream_connected

    async def answers(self, member: str) -> bool:
        """Whether the member's agent answers and its server accepts a login."""
        status = await self.status(member)
        return status is not None and status.accepting

    async def writes(self, member: str, within_s: float = 2.0) -> bool:
        """Whether a commit on the member is acknowledged within the time."""
        node = self.nodes[member]
        statement = "CREATE TABLE IF NOT EXISTS seen (at timestamptz); INSERT INTO seen VALUES (now())"
        try:
            async with asyncio.timeout(patient(within_s)):
                await node.psql(statement, database="app")
        except Exception:  # noqa: BLE001 - whatever it is, it was not acknowledged
            return False
        return True

    async def stopped_reason(self, member: str) -> str:
        """Of the member's last `ServerStopped` event; empty when there is none."""
        subject = self.messaging.subjects.event("agent", f"agent-{member}", "server-stopped")
        try:
            message = await self.messaging.jetstream.get_last_msg("EVENTS", subject)
        except NotFoundError:
            return ""
        return msgspec.json.decode(message.data or b"", type=ServerStopped).reason

    async def ready(self) -> None:
        """Wait until the first member serves and the others stream."""
        first, *others = self.nodes
        await eventually(lambda: self.serves(first), within=60)
        for member in others:
            await eventually(partial(self.streams, member), within=40)

    async def failover(self, member: str, epoch: Epoch) -> Outcome:
        """Revoke, wait until the old holder's server is gone or its lease over, promote."""
        holder = (await self.record()).holder
        revoked = await self.revoke(epoch)
        over = revoked + (self.ttl_s + self.margin_s) * 1.05
        await eventually(lambda: not self.processes(holder) or boottime() > over, within=self.ttl_s + self.margin_s + 5)
        return await self.order(member, "postgres.promote", epoch)


def _configuration(guarded: Guarded, *, synchronous: int, failsafe: bool) -> dict[str, Any]:
    login = guarded.postgres.primary.credentials
    members: dict[str, Any] = {}
    agents: dict[str, Any] = {}
    for name, node in guarded.nodes.items():
        members[name] = {"agent": name, "host": "127.0.0.1", "port": node.port}
        agents[name] = {
            "guards": "postgres",
            "cluster": CLUSTER,
            "member": name,
            "data_directory": str(node.data_dir),
            "state_directory": str(node.directory / "agent"),
            "binaries": str(node.binaries.directory),
            "run_as": node.identity.name if node.identity else None,
        }
        if failsafe:
            guarded.failsafe_ports[name] = lease_port()
            agents[name]["failsafe"] = f"127.0.0.1:{guarded.failsafe_ports[name].number}"
    return {
        "nats": {"servers": [guarded.nats.url]},
        "telemetry": {"log": "json"},
        "postgres_clusters": {
            CLUSTER: {
                "lease": {"ttl": f"{guarded.ttl_s}s", "margin": f"{guarded.margin_s}s"},
                "synchronous": synchronous,
                "database": login.database,
                "admin": {"user": login.superuser, "password": "env:ADMIN_PASSWORD"},
                "replication": {"user": login.replication_user, "password": "env:REPLICATION_PASSWORD"},
                "failsafe_secret": "env:FAILSAFE_SECRET",
                "members": members,
            }
        },
        "agents": agents,
    }


async def _found(guarded: Guarded) -> None:
    """Write the record of a cluster whose first member was its primary before."""
    first, members = next(iter(guarded.nodes)), {}
    for name, node in guarded.nodes.items():
        members[name] = Member(agent=f"agent-{name}", host="127.0.0.1", port=node.port)
    record = founding(CLUSTER, first, ttl_s=guarded.ttl_s, margin_s=guarded.margin_s, members=members)
    await guarded.messaging.kv(BUCKET).create(CLUSTER, msgspec.json.encode(record))


@contextlib.asynccontextmanager
async def guarded_cluster(
    tmp_path: Path,
    *,
    standbys: int = 1,
    synchronous: int = 0,
    ttl_s: float = TTL_S,
    failsafe: bool = True,
    founded: bool = True,
) -> AsyncIterator[Guarded]:
    """Everything started and in step; everything gone afterwards. Not `founded`: the agents do that, after a ttl."""
    postgres = PostgresCluster(standbys=standbys)
    await postgres.prepare()
    async with NatsServer() as nats:
        settings = NatsSettings(servers=(nats.url,), require_sync=False)
        await provision(settings)
        async with Messaging.connect(settings, service="test", instance="test-1") as messaging:
            guarded = Guarded(postgres, nats, messaging)
            guarded.ttl_s = ttl_s
            guarded.nodes = {f"pg-{_LETTERS[i]}": node for i, node in enumerate(postgres.nodes)}
            _write(guarded, tmp_path, synchronous=synchronous, failsafe=failsafe)
            if founded:
                await _found(guarded)
            try:
                for agent in guarded.agents.values():
                    agent.start()
                await guarded.ready()
                yield guarded
            except BaseException:
                for agent in guarded.agents.values():
                    sys.stderr.write(f"--- {agent.name}\n{agent.log()[-6000:]}\n")
                raise
            finally:
                for agent in guarded.agents.values():
                    agent.end()
                for port in guarded.failsafe_ports.values():
                    port.release()
                await postgres.kill()
                postgres.discard()


def _write(guarded: Guarded, tmp_path: Path, *, synchronous: int, failsafe: bool) -> None:
    config_file = tmp_path / "yaoki.yaml"
    configuration = _configuration(guarded, synchronous=synchronous, failsafe=failsafe)
    config_file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    login = guarded.postgres.primary.credentials
    environment = {
        "ADMIN_PASSWORD": login.superuser_password,
        "REPLICATION_PASSWORD": login.replication_password,
        "FAILSAFE_SECRET": "failsafe-secret",
    }
    for name, node in guarded.nodes.items():
        guarded.agents[name] = AgentProcess(name, config_file, node.directory / "agent", environment)


@pytest.fixture
def start_cluster(tmp_path: Path) -> Callable[..., contextlib.AbstractAsyncContextManager[Guarded]]:
    """Starts a cluster of the test's own shape."""
    return lambda **shape: guarded_cluster(tmp_path, **shape)


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Guarded]:
    """A primary with one standby."""
    async with guarded_cluster(tmp_path) as guarded:
        yield guarded
        for agent in guarded.agents.values():
            sys.stdout.write(f"--- {agent.name}\n{agent.log()[-8000:]}\n")


@pytest_asyncio.fixture
async def virtual(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """See `virtual_time`."""
    with monkeypatch.context() as patch, virtual_time(patch):
        yield


def held(condition: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    """The condition, negated."""

    async def negated() -> bool:
        return not await condition()

    return negated

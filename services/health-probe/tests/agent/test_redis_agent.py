"""The agents of a Redis group follow the route, and carry out `redis.*` orders."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import pytest_asyncio
import yaml
from health_probe.agent.redis_decision import (
    Master,
    RedisAction,
    RedisLocal,
    decide_redis,
    master_of,
    replicas_demanded,
)
from hypothesis import given
from hypothesis import strategies as st
from yaoki.clock import SystemClock
from yaoki.commands.agent import AgentStatus, AgentStatusQuery
from yaoki.commands.worker import PerformOrder
from yaoki.epoch import Epoch
from yaoki.errors import TransientError
from yaoki.flag_store import FlagStore
from yaoki.flags import BUCKET, Endpoint, Route, RouteState
from yaoki.messaging import Messaging
from yaoki.messaging.settings import NatsSettings
from yaoki.plans import Order, Outcome, Phase
from yaoki.provision import provision
from yaoki.testing import eventually, patient
from yaoki_devstack.binaries import program
from yaoki_devstack.nats import NatsServer
from yaoki_devstack.ports import lease as lease_port
from yaoki_devstack.process import run, spawn

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator

PASSWORD = "redis-secret"
MASTER = Master("redis-a", "10.0.0.1", 6379)
locals_ = st.builds(
    RedisLocal,
    running=st.booleans(),
    master=st.none() | st.booleans(),
    upstream=st.sampled_from((None, ("10.0.0.1", 6379), ("10.0.0.2", 6379))),
    left_to_recovery=st.booleans(),
)


@given(local=locals_, member=st.sampled_from(("redis-a", "redis-b")))
def test_only_the_named_master_is_started_as_one(local: RedisLocal, member: str) -> None:
    """Everybody else comes up as a replica; nothing happens while the route is cut."""
    action = decide_redis(MASTER, local, member)
    if action is RedisAction.START_MASTER:
        assert member == "redis-a"
        assert not local.left_to_recovery
    if action is RedisAction.START_REPLICA:
        assert member == "redis-b"
    if local.running and member == "redis-b" and local.master:
        assert action is RedisAction.FOLLOW
    assert decide_redis(None, local, member) is RedisAction.NOTHING


def test_a_cut_route_names_nobody() -> None:
    """The one before the cut is not the master any more."""
    now = SystemClock().now()
    route = Route(
        cluster="cache", state=RouteState.CUT, primary=Endpoint(member="redis-a", host="h", port=1), since=now
    )
    assert master_of(route, MASTER) is None
    assert master_of(None, MASTER) == MASTER


def test_only_a_master_that_has_long_heard_nothing_needs_its_replicas() -> None:
    assert replicas_demanded(master=True, silent_s=5.0, others=2) == 2
    assert replicas_demanded(master=True, silent_s=4.9, others=2) is None
    assert replicas_demanded(master=False, silent_s=60.0, others=2) is None
    assert replicas_demanded(master=True, silent_s=60.0, others=0) is None, "nobody else could be promoted"


class Group:
    """Two agents, each with its Redis."""

    def __init__(self, directory: Path, nats: NatsServer, messaging: Messaging) -> None:
        self.directory = directory
        self.nats = nats
        self.messaging = messaging
        self.flags = FlagStore(messaging.kv(BUCKET), messaging.publisher, SystemClock())
        self.ports = {name: lease_port() for name in ("redis-a", "redis-b")}
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        members = {n: {"agent": n, "host": "127.0.0.1", "port": p.number} for n, p in self.ports.items()}
        agents: dict[str, Any] = {
            name: {
                "guards": "redis",
                "group": "cache",
                "member": name,
                "data_directory": str(directory / name / "data"),
                "state_directory": str(directory / name / "agent"),
                "binary": str(program("redis-server")),
            }
            for name in self.ports
        }
        configuration = {
            "nats": {"servers": [nats.url]},
            "redis_groups": {"cache": {"password": "env:REDIS_PASSWORD", "members": members}},
            "agents": agents,
        }
        (directory / "yaoki.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")

    def start(self, name: str) -> None:
        self.agents[name] = spawn(
            [
                *(sys.executable, "-m", "health_probe", "--config", self.directory / "yaoki.yaml"),
                *("--role", "agent", "--agent", name),
            ],
            cwd=Path("/"),
            log_file=self.directory / f"{name}.log",
            environment={"REDIS_PASSWORD": PASSWORD},
        )

    async def status(self, name: str) -> AgentStatus | None:
        with suppress(TransientError):
            status: AgentStatus = await self.messaging.request(AgentStatusQuery(), service=f"agent-{name}")
            return status
        return None

    async def is_(self, name: str, role: str) -> bool:
        status = await self.status(name)
        return status is not None and status.role == role and (role == "primary" or status.upstream_connected)

    async def cli(self, name: str, *words: str) -> str:
        port = str(self.ports[name].number)
        environment = {"REDISCLI_AUTH": PASSWORD}
        return (await run([program("redis-cli"), "-p", port, *words], environment=environment)).strip()

    async def order(self, name: str, action: str, epoch: Epoch, **params: Any) -> Outcome:
        timeout_s = patient(15)
        order = Order(
            command_id=uuid4().hex,
            run_kind="recovery",
            run_id="run-1",
            resource="cache",
            step="x",
            phase=Phase.DO,
            action=action,
            params=params,
            epoch=epoch,
            expires_at=SystemClock().now() + timedelta(seconds=timeout_s),
        )
        reply = await self.messaging.request(
            PerformOrder(order=order), service=f"agent-{name}", timeout_s=timeout_s + 1
        )
        outcome: Outcome = reply.outcome
        return outcome

    async def publish(self, name: str, state: RouteState, epoch: Epoch) -> None:
        endpoint = Endpoint(member=name, host="127.0.0.1", port=self.ports[name].number)
        await self.flags.publish_route(
            Route(cluster="cache", state=state, epoch=epoch, primary=endpoint, since=SystemClock().now())
        )

    async def kill_server(self, name: str) -> None:
        os.kill(int((await self.cli(name, "INFO", "server")).split("process_id:")[1].split()[0]), signal.SIGKILL)


@pytest_asyncio.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    async with NatsServer() as nats:
        settings = NatsSettings(servers=(nats.url,), require_sync=False)
        await provision(settings)
        async with Messaging.connect(settings, service="test", instance="test-1") as messaging:
            redis = Group(tmp_path, nats, messaging)
            for name in redis.ports:
                redis.start(name)
            await eventually(lambda: redis.is_("redis-a", "primary"), within=20)
            await eventually(lambda: redis.is_("redis-b", "standby"), within=20)
            yield redis
            for agent in redis.agents.values():
                agent.terminate()
                assert agent.wait(timeout=patient(20)) == 0
            for port in redis.ports.values():
                port.release()


@pytest.mark.real
async def test_an_old_master_returns_as_replica_and_the_data_is_kept(group: Group) -> None:
    """Killed, the replica promoted, the route published: the old one follows and never accepts a write."""
    await group.cli("redis-a", "SET", "k", "v")
    assert await group.cli("redis-a", "WAIT", "1", str(int(patient(10) * 1000))) == "1"
    await group.publish("redis-a", RouteState.CUT, Epoch(1, 1))
    await group.kill_server("redis-a")
    assert (await group.order("redis-b", "redis.promote", Epoch(1, 1))).status == "succeeded"
    await group.publish("redis-b", RouteState.SERVING, Epoch(1, 1))
    await eventually(lambda: group.is_("redis-a", "standby"), within=20)
    assert await group.cli("redis-b", "GET", "k") == "v"
    assert "READONLY" in await group.cli("redis-a", "SET", "k", "stale")


@pytest.mark.real
async def test_an_order_of_an_old_epoch_is_refused(group: Group) -> None:
    """A leader that was replaced promotes nobody any more."""
    assert (await group.order("redis-b", "redis.follow", Epoch(1, 5), primary="redis-a")).status == "succeeded"
    late = await group.order("redis-b", "redis.promote", Epoch(1, 4))
    assert (late.status, late.error_code) == ("refused", "stale_epoch")
    await eventually(lambda: group.is_("redis-b", "standby"), within=20)


@pytest.mark.real
async def test_a_stopped_server_has_no_process(group: Group) -> None:
    """`redis.stop` proves it, and a repeat finds it done."""
    for _ in range(2):
        outcome = await group.order("redis-a", "redis.stop", Epoch(1, 1))
        assert (outcome.status, outcome.result["processes"]) == ("succeeded", 0)

    async def runs_no_more() -> bool:
        status = await group.status("redis-a")
        return status is not None and not status.running

    await eventually(runs_no_more, within=20)


@pytest.mark.real
async def test_a_master_cut_off_from_nats_and_its_replica_accepts_no_writes(group: Group) -> None:
    """While its replica follows, it goes on without NATS; a replica that was promoted follows nobody."""
    assert await group.cli("redis-a", "CONFIG", "SET", "min-replicas-max-lag", "7") == "OK"
    await group.nats.kill()

    async def demands() -> bool:
        return (await group.cli("redis-a", "CONFIG", "GET", "min-replicas-to-write")).split()[-1] == "1"

    await eventually(demands, within=30)
    assert await group.cli("redis-a", "SET", "k", "v") == "OK"

    await group.cli("redis-b", "REPLICAOF", "NO", "ONE")

    async def refuses() -> bool:
        return "NOREPLICAS" in await group.cli("redis-a", "SET", "k", "stale")

    await eventually(refuses, within=20)
    group.agents["redis-a"].kill()
    group.agents["redis-a"].wait()
    await group.nats.start()
    group.start("redis-a")
    await eventually(lambda: group.is_("redis-b", "standby"), within=40)

    async def has_its_own_rule() -> bool:
        words = (await group.cli("redis-a", "CONFIG", "GET", "min-replicas-*")).split()
        return dict(zip(words[::2], words[1::2], strict=True)) == {
            "min-replicas-to-write": "0",
            "min-replicas-max-lag": "7",
        }

    await eventually(has_its_own_rule, within=20)
    assert await group.cli("redis-a", "SET", "k", "v") == "OK"

"""What is done for applications, on real servers: commands to their SDK, their cached keys, their PgBouncer."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis.asyncio
from recovery.adapters.pooler import ReconnectPooler
from recovery.adapters.redis import RedisConnections
from recovery.adapters.services import NatsApplications
from recovery.steps.applications import ApplicationSteps
from yaoki.clock import SystemClock
from yaoki.commands.application import WarmCache
from yaoki.config import Application, Pooler, RedisGroup, RedisMember, Secret
from yaoki.errors import RejectedError, TransientError
from yaoki.flags import Endpoint
from yaoki.messaging import Messaging
from yaoki.messaging.settings import NatsSettings
from yaoki.plans import OutcomeStatus
from yaoki.provision import provision
from yaoki.runs import LocalWorker
from yaoki.sdk import Yaoki
from yaoki.testing import eventually
from yaoki_devstack.ports import lease as lease_port

from .builders import order
from .hand_orders import Service, succeeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import datetime

    from yaoki.plans import JsonObject, Order
    from yaoki_devstack.nats import NatsServer
    from yaoki_devstack.redis import RedisServer

pytestmark = [pytest.mark.real]

ROOT = Path(__file__).parents[3]
PGBOUNCER = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), str(ROOT / ".tools/bin")]))


@pytest.fixture
async def messaging(nats_server: NatsServer) -> AsyncIterator[Messaging]:
    settings = NatsSettings(servers=(nats_server.url,))
    await provision(settings)
    async with Messaging.connect(settings, service="recovery", instance="recovery-1") as connected:
        await connected.start()
        yield connected


def command(name: str, *, command_id: str = "command-1", within_s: float = 5.0) -> Order:
    expires: datetime = SystemClock().now().replace(year=2100)
    params = {"application": "orders", "command": name, "within_s": within_s}
    return order("application-command", params, command_id=command_id, expires_at=expires)


async def test_every_instance_carries_a_command_out_once(messaging: Messaging, nats_server: NatsServer) -> None:
    """A repeat is answered; what one instance cannot do stands beside what the other did."""
    worker = LocalWorker(ApplicationSteps(NatsApplications(messaging)).handlers())
    loaded: list[str] = []

    async def warm(_: WarmCache) -> JsonObject:
        loaded.append("bestsellers")
        return {"loaded": 1}

    async with Yaoki.connect(nats_server.url, application="orders") as first:
        first.on_command(WarmCache, warm)
        await first.serve_commands()
        done = succeeded(await worker.perform(command("warm-cache")))
        again = LocalWorker(ApplicationSteps(NatsApplications(messaging)).handlers())
        repeated = succeeded(await again.perform(command("warm-cache")))
        garbage = succeeded(await worker.perform(command("collect-garbage", command_id="command-2")))

    assert list(done["done"].values()) == [{"loaded": 1}]
    assert repeated["done"] == done["done"]
    assert loaded == ["bestsellers"]
    assert garbage["failed"] == {}


async def test_what_nobody_does_has_failed_or_is_skipped(messaging: Messaging, nats_server: NatsServer) -> None:
    """No instance: skipped at once. An instance that does not know what to load: failed, with what it said."""
    worker = LocalWorker(ApplicationSteps(NatsApplications(messaging)).handlers())
    nobody = await worker.perform(command("warm-cache"))
    async with Yaoki.connect(nats_server.url, application="orders") as one:
        await one.serve_commands()
        refused = await worker.perform(command("warm-cache", command_id="command-2"))

    assert nobody.status is OutcomeStatus.SKIPPED
    assert "no instance of 'orders' answers" in nobody.error
    assert refused.status is OutcomeStatus.FAILED
    assert "no instance of 'orders' carried warm-cache out" in refused.error
    with pytest.raises(RejectedError, match="there is no command 'reboot'"):
        await NatsApplications(messaging).command("orders", "reboot", command_id="c", by="x", within_s=1.0)


async def test_only_the_applications_keys_are_deleted(redis_server: RedisServer) -> None:
    """A Redis may hold more than a cache."""
    endpoint = Endpoint(member="redis-a", host=redis_server.host, port=redis_server.port)
    member = RedisMember(agent="redis-a", host=redis_server.host, port=redis_server.port)
    group = RedisGroup(password=Secret("env:REDIS", redis_server.password), members={"redis-a": member})
    async with redis.asyncio.Redis(host=endpoint.host, port=endpoint.port, password=redis_server.password) as client:
        await client.mset({f"orders:{index}": "x" for index in range(2500)})
        await client.mset({"sessions:1": "x", "order": "x"})

        deleted = await RedisConnections().delete_matching(group, endpoint, "orders:*")
        again = await RedisConnections().delete_matching(group, endpoint, "orders:*")

        assert (deleted, again) == (2500, 0)
        assert sorted(await client.keys("*")) == [b"order", b"sessions:1"]
    nowhere = Endpoint(member="redis-b", host="127.0.0.1", port=9)
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9"):
        await RedisConnections().delete_matching(group, nowhere, "orders:*")


@pytest.fixture
def pooler() -> Iterator[Pooler]:
    """A PgBouncer whose database is away, which its administrators need not care about."""
    assert PGBOUNCER is not None
    port = lease_port()
    with tempfile.TemporaryDirectory(prefix="yaoki-pgbouncer-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # it refuses to run as root, and its user has to read this
        (directory / "users").write_text('"boss" "s3cret"\n', encoding="ascii")
        (directory / "pgbouncer.ini").write_text(
            "[databases]\norders = host=127.0.0.1 port=1\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port.number}\nunix_socket_dir =\nauth_type = plain\nauth_file = {directory}/users\n"
            "admin_users = boss\n",
            encoding="ascii",
        )
        user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
        argv = [PGBOUNCER, str(directory / "pgbouncer.ini")]
        process = subprocess.Popen(argv, user=user, stderr=subprocess.DEVNULL)  # noqa: S603 - a server of this test
        try:
            yield Pooler(host="127.0.0.1", port=port.number, user="boss", password=Secret("env:PGB", "s3cret"))
        finally:
            process.kill()
            process.wait(10)
            port.release()


if PGBOUNCER is not None:  # nobody packs it as a wheel; where it is missing nothing is claimed

    async def test_pgbouncer_opens_its_connections_anew(pooler: Pooler) -> None:
        """All databases or the named ones; twice does no harm, and what it refuses is told."""

        def service(*databases: str) -> Service:
            named = Pooler(
                host=pooler.host, port=pooler.port, user=pooler.user, password=pooler.password, databases=databases
            )
            return Service(ReconnectPooler({"orders": Application(pooler=named)}))

        async def accepted() -> bool:
            return (await service().perform(application="orders")).status is OutcomeStatus.SUCCEEDED

        await eventually(accepted, within=20.0)
        seen = await service("orders").look(application="orders")
        done = succeeded(await service("orders").perform(application="orders"))
        unknown = await service("billing").perform(application="orders")

        assert seen["would"] == f"order RECONNECT of orders at PgBouncer 127.0.0.1:{pooler.port}"
        assert list(done["databases"]) == ["orders"]
        assert unknown.status is OutcomeStatus.FAILED
        assert "no such database: billing" in unknown.error


async def test_a_pooler_that_is_away_or_not_configured() -> None:
    """Failed and refused."""
    away = await Service(ReconnectPooler({"orders": Application(pooler=Pooler(host="127.0.0.1", port=9))})).perform(
        application="orders"
    )
    none = await Service(ReconnectPooler({"orders": Application()})).perform(application="orders")

    assert away.status is OutcomeStatus.FAILED
    assert none.status is OutcomeStatus.REFUSED

"""docs/probes.md: every block, as it stands but for addresses and places of this machine, is probed once for real."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.rrset
import nats
import pytest
import trustme
import yaml
from health_probe.adapters.network import Network
from health_probe.check.examiner import Examiner
from health_probe.kinds import Surroundings
from health_probe.probes import KINDS
from health_probe.routes import RouteBook
from typing_extensions import override
from yaoki.clock import SystemClock
from yaoki.config import load_config
from yaoki.events.probe import ProbeStatus
from yaoki.testing import eventually
from yaoki_devstack.nats import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from yaoki_devstack.postgres_cluster import PostgresCluster
    from yaoki_devstack.redis import RedisServer

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

PAGE = Path(__file__).parents[4] / "docs" / "probes.md"
HERE = "127.0.0.1"
SECRET = "correct-horse-battery-staple"
S3_SECRETS = {"PROBE_ACCESS_KEY": "yaoki", "PROBE_SECRET_KEY": "yaoki-secret"}
HEALTHY_PAGE = b'{"status": "healthy"}'
PROMETHEUS_PAGE = b'{"status":"success","data":{"resultType":"scalar","result":[1735689600.123,"0.02"]}}'

Overrides = dict[str, dict[str, Any]]


def block(kind: str) -> dict[str, Any]:
    """The first block of the page that shows `kind`, as a reader copies it."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    document: dict[str, Any] = next(one for text in blocks if kind in _kinds(one := yaml.safe_load(text)))
    return document


def _kinds(document: dict[str, Any]) -> set[str]:
    return {target["kind"] for target in document.get("targets", {}).values()}


async def statuses(
    document: dict[str, Any], overrides: Overrides, folder: Path, secrets: dict[str, str] | None = None
) -> dict[str, ProbeStatus]:
    """How each target of a block is found, once its addresses lead to the servers of this test.

    Every target has to be overridden, so that nothing of a documentation domain is ever asked. The agent that the
    page puts in charge of a host is this machine.
    """
    assert set(overrides) == set(document["targets"])
    for name, settings in overrides.items():
        document["targets"][name] |= settings
        document["targets"][name].pop("agent", None)
    file = folder / "yaoki.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    surroundings = Surroundings(
        config=load_config(file, environ=secrets or {}), network=Network(), routes=RouteBook(), vantage="check"
    )
    checkup = await Examiner(surroundings, SystemClock()).checkup()
    wrong = [one for one in checkup.targets if one.status is ProbeStatus.UNHEALTHY]
    assert not wrong, wrong
    return {one.target: one.status for one in checkup.targets}


def all_healthy(overrides: Overrides) -> dict[str, ProbeStatus]:
    return dict.fromkeys(overrides, ProbeStatus.HEALTHY)


async def test_postgres(postgres_pair: PostgresCluster, tmp_path: Path) -> None:
    """With no more rights than the page says."""
    primary, replica = postgres_pair.primary, postgres_pair.standbys[0]
    await primary.psql(f"CREATE ROLE yaoki LOGIN PASSWORD '{SECRET}'")
    await primary.psql("CREATE DATABASE orders")
    await primary.psql("CREATE SCHEMA yaoki AUTHORIZATION yaoki", database="orders")
    await primary.psql("GRANT pg_monitor TO yaoki")

    async def replayed() -> bool:
        granted = "SELECT count(*) FROM pg_auth_members WHERE member = to_regrole('yaoki')"
        return (await replica.psql(granted)).strip() == "1"

    await eventually(replayed, within=30.0)
    overrides: Overrides = {
        "orders-db": {"host": HERE, "port": primary.port},
        "orders-db-replica": {"host": HERE, "port": replica.port},
    }

    found = await statuses(block("postgres"), overrides, tmp_path, {"YAOKI_DB_PASSWORD": SECRET})

    assert found == all_healthy(overrides)


async def test_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("redis-secret\n", encoding="utf-8")
    secret.chmod(0o600)
    overrides: Overrides = {"sessions": {"host": HERE, "port": redis_server.port, "password": f"file:{secret}"}}

    assert await statuses(block("redis"), overrides, tmp_path) == all_healthy(overrides)


def page(body: bytes) -> Any:
    """An HTTP server that answers everything with `body`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await reader.read()

    return answer


async def test_http(listening: Any, tmp_path: Path) -> None:
    async with listening(page(HEALTHY_PAGE)) as port:
        url = f"http://{HERE}:{port}/health"
        overrides: Overrides = {"orders-api": {"url": url}, "payment-provider": {"url": url}}

        assert await statuses(block("http"), overrides, tmp_path) == all_healthy(overrides)


async def quiet(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_tcp(listening: Any, tmp_path: Path) -> None:
    async with listening(quiet) as port:
        overrides: Overrides = {"smtp": {"host": HERE, "port": port}}

        assert await statuses(block("tcp"), overrides, tmp_path) == all_healthy(overrides)


async def test_tls(listening: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.example").configure_cert(context)
    place = {"host": HERE, "server_name": "shop.example", "ca_file": str(tmp_path / "ca.pem")}
    async with listening(quiet, context) as port:
        overrides: Overrides = {"shop-certificate": {**place, "port": port}}

        assert await statuses(block("tls"), overrides, tmp_path) == all_healthy(overrides)


@asynccontextmanager
async def name_server(answer: str) -> AsyncIterator[int]:
    """Answers every question for an address with `answer`."""

    class NameServer(asyncio.DatagramProtocol):
        @override
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        @override
        def datagram_received(self, data: bytes, addr: Any) -> None:
            query = dns.message.from_wire(data)
            response = dns.message.make_response(query)
            response.flags |= dns.flags.RA
            response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", answer))
            self.transport.sendto(response.to_wire(), addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(NameServer, local_addr=(HERE, 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


async def test_dns(tmp_path: Path) -> None:
    document = block("dns")
    async with name_server(document["targets"]["db-name"]["expect"][0]) as port:
        overrides: Overrides = {"db-name": {"resolver": f"{HERE}:{port}"}}

        assert await statuses(document, overrides, tmp_path) == all_healthy(overrides)


async def test_nats(tmp_path: Path) -> None:
    """With a login, and the stream that the page describes."""
    config = f"authorization {{ user: probe, password: {SECRET} }}"
    async with NatsServer(extra_config=config) as server, AsyncExitStack() as stack:
        client = await nats.connect(server.url, user="probe", password=SECRET)
        stack.push_async_callback(client.close)
        await client.jetstream().add_stream(name="PROBE", subjects=["probe.stored"], max_msgs=10)
        overrides: Overrides = {"bus": {"host": HERE, "port": server.port}}

        found = await statuses(block("nats"), overrides, tmp_path, {"NATS_PROBE_PASSWORD": SECRET})

    assert found == all_healthy(overrides)


@pytest.fixture
async def store(shared_s3_server: Any, unique_prefix: str) -> dict[str, Any]:
    """A bucket, as `store` names it."""
    await shared_s3_server.create_bucket(unique_prefix)
    keys = {"access_key": "env:PROBE_ACCESS_KEY", "secret_key": "env:PROBE_SECRET_KEY"}
    return {
        "endpoint": f"http://{HERE}:{shared_s3_server.port}",
        "bucket": unique_prefix,
        "region": "us-east-1",
        **keys,
    }


async def test_s3(store: dict[str, Any], tmp_path: Path) -> None:
    overrides: Overrides = {"backup-store": {"store": store}}

    assert await statuses(block("s3"), overrides, tmp_path, S3_SECRETS) == all_healthy(overrides)


async def test_backup_freshness(store: dict[str, Any], shared_s3_server: Any, tmp_path: Path) -> None:
    client = shared_s3_server.client()
    client.put_object(Bucket=store["bucket"], Key="orders/full/manifest.json", Body=b"{}")
    client.close()
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    overrides: Overrides = {"orders-backups": {"store": store}, "local-backups": {"directory": str(tmp_path)}}

    assert await statuses(block("backup-freshness"), overrides, tmp_path, S3_SECRETS) == all_healthy(overrides)


async def test_filesystem(tmp_path: Path) -> None:
    overrides: Overrides = {"uploads": {"directory": str(tmp_path), "min_free": "1B", "max_used": 100}}

    assert await statuses(block("filesystem"), overrides, tmp_path) == all_healthy(overrides)


async def test_the_host(tmp_path: Path) -> None:
    """With limits that no machine passes."""
    never = {"limit": 100}
    overrides: Overrides = {"host-memory": never, "host-cpu": never, "host-disk": {**never, "path": "/"}}

    assert await statuses(block("memory"), overrides, tmp_path) == all_healthy(overrides)


@contextmanager
def idle(title: str, folder: Path) -> Iterator[int]:
    """A process whose arguments are `folder` and `title`; yields its number."""
    argv = ["/bin/sh", "-c", "read never; exit", str(folder), *title.split()]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:  # noqa: S603 - a shell that waits for a line
        try:
            yield process.pid
        finally:
            process.kill()


async def test_process(tmp_path: Path) -> None:
    """Four that are found by their arguments, one by its file."""
    with ExitStack() as running:
        for _ in range(4):
            running.enter_context(idle("celery of this test worker", tmp_path))
        pidfile = tmp_path / "pid"
        pidfile.write_text(str(running.enter_context(idle("pooler", tmp_path))), encoding="ascii")
        overrides: Overrides = {
            "workers": {"command_pattern": f"{re.escape(str(tmp_path))}.*celery .*worker"},
            "pgbouncer": {"pidfile": str(pidfile)},
        }

        assert await statuses(block("process"), overrides, tmp_path) == all_healthy(overrides)


async def test_exec(tmp_path: Path) -> None:
    """A program of the test in place of the plugin, with the arguments of the page."""
    plugin = tmp_path / "check_ntp_time"
    plugin.write_text('#!/bin/sh\n[ "$1" = -H ] && [ "$2" = ntp.internal ] && echo OK\n', encoding="utf-8")
    plugin.chmod(0o755)
    document = block("exec")
    document["probe"]["allowed_commands"] = [str(plugin)]
    overrides: Overrides = {"clock": {"command": str(plugin)}}

    assert await statuses(document, overrides, tmp_path) == all_healthy(overrides)


async def test_metric(listening: Any, tmp_path: Path) -> None:
    """What applications report reaches a running prober only."""
    async with listening(page(PROMETHEUS_PAGE)) as port:
        overrides: Overrides = {
            "orders-errors": {},
            "orders-latency": {},
            "orders-errors-prometheus": {"prometheus": f"http://{HERE}:{port}"},
        }

        found = await statuses(block("metric"), overrides, tmp_path)

    assert list(found.values()) == [ProbeStatus.UNKNOWN, ProbeStatus.UNKNOWN, ProbeStatus.HEALTHY]


async def test_heartbeat(tmp_path: Path) -> None:
    found = await statuses(block("heartbeat"), {"nightly-report": {}}, tmp_path, {"REPORT_TOKEN": SECRET})

    assert found == {"nightly-report": ProbeStatus.UNKNOWN}


def test_no_kind_is_left_out() -> None:
    """A new kind has a block, and its block a test here."""
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    together = {"memory", "cpu", "disk"} if "the-host" in tested else set()

    assert {str(kind.target.__struct_config__.tag) for kind in KINDS} <= tested | together

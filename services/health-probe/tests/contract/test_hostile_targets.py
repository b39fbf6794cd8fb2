"""What every probe kind owes its prober, whatever the target does: an answer in time, typed, bounded."""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from health_probe.adapters.postgres import Login
from health_probe.probes.http import Expectations, HttpCheck
from health_probe.probes.postgres_primary import PostgresPrimaryCheck
from health_probe.probes.postgres_replica import PostgresReplicaCheck
from health_probe.probes.redis import RedisCheck
from health_probe.probes.tcp import TcpCheck
from health_probe.routes import FixedEndpoint
from yaoki.events.probe import ErrorClass, ProbeStatus
from yaoki.flags import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from health_probe.adapters.network import Network
    from health_probe.ports import Check

PASSWORD = "correct-horse-battery-staple"
KINDS = ["postgres-primary", "postgres-replica", "redis", "http", "tcp"]
TALKING_KINDS = [kind for kind in KINDS if kind != "tcp"]
HUGE = b"x" * (1 << 16)

_ANNOUNCEMENTS = {
    # An error message of 900 MB, a bulk string of 900 MB, a body without end.
    "postgres-primary": b"E" + struct.pack("!i", 900_000_000),
    "postgres-replica": b"E" + struct.pack("!i", 900_000_000),
    "redis": b"$900000000\r\n",
    "http": b"HTTP/1.1 200 OK\r\n\r\n",
}


def build(kind: str, network: Network, host: str, port: int) -> Check:
    endpoint = Endpoint(member="only", host=host, port=port)
    where = FixedEndpoint(endpoint)
    login = Login(user="yaoki", password=PASSWORD, database="orders")
    checks: dict[str, Check] = {
        "postgres-primary": PostgresPrimaryCheck(network=network, login=login, endpoints=where, write_key=None),
        "postgres-replica": PostgresReplicaCheck(
            network=network, login=login, endpoint=endpoint, endpoints=where, max_lag_bytes=1
        ),
        "redis": RedisCheck(network=network, user=None, password=PASSWORD, endpoints=where),
        "http": HttpCheck(
            network=network,
            url=f"http://{host}:{port}/",
            method="GET",
            verify_tls=True,
            expect=Expectations(),
        ),
        "tcp": TcpCheck(network=network, host=host, port=port),
    }
    return checks[kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_closed_port_is_refused(kind: str, network: Network, run: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        result = await run(build(kind, network, "127.0.0.1", port))

    assert (result.status, result.error_class, result.phase) == (
        ProbeStatus.UNHEALTHY,
        ErrorClass.REFUSED,
        "connect",
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_a_name_that_does_not_resolve_is_a_dns_failure(kind: str, network: Network, run: Any) -> None:
    result = await run(build(kind, network, "no-such-host.invalid", 5432), timeout_s=20.0)

    assert result.status is ProbeStatus.UNHEALTHY
    assert result.phase == "dns"
    assert result.error_class in (ErrorClass.DNS, ErrorClass.TIMEOUT), result.detail


@pytest.mark.parametrize("kind", KINDS)
async def test_a_full_backlog_is_a_timeout_of_connect(kind: str, network: Network, run_out: Any) -> None:
    """A listener that never accepts and whose queue is full drops the packets of whoever comes next."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)  # noqa: FBT003 - the standard library's signature
            client.connect_ex(("127.0.0.1", port))

        result = await run_out(build(kind, network, "127.0.0.1", port), lambda result: result.phase == "connect")

        for client in waiting:
            client.close()
    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.TIMEOUT)
    assert result.phase == "connect"


@pytest.mark.parametrize("kind", TALKING_KINDS)
async def test_accepting_and_saying_nothing_is_a_timeout(
    kind: str, network: Network, run_out: Any, listening: Callable[..., Any]
) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port:
        result = await run_out(
            build(kind, network, "127.0.0.1", port), lambda result: result.phase in ("login", "response")
        )

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.TIMEOUT)
    assert result.phase in ("login", "response")
    assert result.phase in result.detail


@pytest.mark.parametrize("kind", TALKING_KINDS)
async def test_a_reset_connection_is_refused(
    kind: str, network: Network, run: Any, listening: Callable[..., Any]
) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with listening(reset) as port:
        result = await run(build(kind, network, "127.0.0.1", port))

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.REFUSED), result.detail


@pytest.mark.parametrize("kind", TALKING_KINDS)
async def test_an_answer_byte_by_byte_meets_the_deadline(
    kind: str, network: Network, run: Any, listening: Callable[..., Any]
) -> None:
    """A limit on the pause between two bytes would never be reached."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in _ANNOUNCEMENTS[kind] + HUGE:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with listening(drip) as port:
        result = await run(build(kind, network, "127.0.0.1", port), timeout_s=0.6)

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.TIMEOUT), result.detail


@pytest.mark.parametrize("kind", TALKING_KINDS)
async def test_an_endless_answer_is_cut_off(
    kind: str, network: Network, run: Any, listening: Callable[..., Any]
) -> None:
    sent = 0

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(_ANNOUNCEMENTS[kind])
        while True:
            writer.write(HUGE)
            await writer.drain()
            sent += len(HUGE)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with listening(flood) as port:
        result = await run(build(kind, network, "127.0.0.1", port))
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.PROTOCOL), result.detail
    assert "more than 1048576 bytes" in result.detail
    assert grown_mib < 200, f"{sent} bytes were sent and {grown_mib:.0f} MiB kept"


@pytest.mark.parametrize("kind", TALKING_KINDS)
async def test_noise_is_a_protocol_failure(
    kind: str, network: Network, run: Any, listening: Callable[..., Any]
) -> None:
    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n" + bytes(range(256)) * 4 + b"\r\n\r\n")
        await writer.drain()
        writer.write_eof()
        await reader.read()

    async with listening(noise) as port:
        result = await run(build(kind, network, "127.0.0.1", port))

    assert result.status is ProbeStatus.UNHEALTHY
    assert result.error_class in (ErrorClass.PROTOCOL, ErrorClass.REFUSED), result.detail


@pytest.mark.parametrize("kind", TALKING_KINDS)
async def test_no_result_repeats_a_credential(
    kind: str, network: Network, run: Any, listening: Callable[..., Any]
) -> None:
    """A target that echoes what it was sent must not get the password into an event."""
    fields = b"SFATAL\0C28P01\0Mlogin of yaoki with " + PASSWORD.encode() + b" failed\0\0"
    echoes = {
        "postgres-primary": b"E" + struct.pack("!i", len(fields) + 4) + fields,
        "postgres-replica": b"E" + struct.pack("!i", len(fields) + 4) + fields,
        "redis": b"-WRONGPASS no user with password " + PASSWORD.encode() + b"\r\n",
        "http": b"HTTP/1.1 500 " + PASSWORD.encode() + b"\r\ncontent-length: 0\r\n\r\n",
    }

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(echoes[kind])
        await writer.drain()
        await reader.read()

    async with listening(echo) as port:
        result = await run(build(kind, network, "127.0.0.1", port))

    assert result.status is ProbeStatus.UNHEALTHY
    assert PASSWORD not in repr(result)
    expected = ErrorClass.PROTOCOL if kind == "http" else ErrorClass.AUTH
    assert result.error_class is expected, result.detail

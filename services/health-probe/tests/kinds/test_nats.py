"""The kind `nats` against a real server, and against what is none."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import nats
import pytest
import trustme
from health_probe.adapters.nats_client import NatsLogin
from health_probe.probes.nats import NatsCheck
from yaoki.events.probe import ErrorClass, ProbeStatus
from yaoki_devstack.nats import NatsServer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

    from health_probe.adapters.network import Network
    from nats.aio.client import Client
    from nats.aio.msg import Msg

SECRET = "correct-horse-battery-staple"
OPEN = NatsLogin()


def check(network: Network, port: int, login: NatsLogin = OPEN, **settings: Any) -> NatsCheck:
    return NatsCheck(network=network, host="127.0.0.1", port=port, login=login, **settings)


@asynccontextmanager
async def client_of(server: Any) -> AsyncIterator[Client]:
    client = await nats.connect(server.url)
    try:
        yield client
    finally:
        await client.close()


@pytest.mark.real
async def test_a_message_goes_round(network: Network, run: Any, shared_nats_server: Any) -> None:
    result = await run(check(network, shared_nats_server.port))

    assert (result.status, result.phase) == (ProbeStatus.HEALTHY, "verdict"), result
    assert str(result.facts["version"]).startswith("2.")


@pytest.mark.real
async def test_a_stream_stores_and_a_responder_answers(
    network: Network, run: Any, shared_nats_server: Any, unique_prefix: str
) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(b"here")

    async with client_of(shared_nats_server) as client:
        await client.jetstream().add_stream(name=unique_prefix, subjects=[f"{unique_prefix}.probe"])
        await client.subscribe(f"{unique_prefix}.ask", cb=answer)
        await client.flush()
        both = check(
            network,
            shared_nats_server.port,
            stream_subject=f"{unique_prefix}.probe",
            request_subject=f"{unique_prefix}.ask",
        )
        first, second = await run(both), await run(both)

    assert first.status is ProbeStatus.HEALTHY, first
    assert (first.facts["stream"], first.facts["sequence"]) == (unique_prefix, 1)
    assert second.facts["sequence"] == 2


@pytest.mark.real
@pytest.mark.parametrize("asked", ["stream_subject", "request_subject"])
async def test_a_subject_that_nobody_listens_to_is_refused(
    asked: str, network: Network, run: Any, shared_nats_server: Any, unique_prefix: str
) -> None:
    settings: dict[str, Any] = {asked: f"{unique_prefix}.nobody"}
    result = await run(check(network, shared_nats_server.port, **settings))

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.REFUSED), result
    assert f"nobody answers at {unique_prefix}.nobody" in result.detail


@pytest.mark.real
async def test_a_full_stream_is_a_failure(
    network: Network, run: Any, shared_nats_server: Any, unique_prefix: str
) -> None:
    async with client_of(shared_nats_server) as client:
        await client.jetstream().add_stream(
            name=unique_prefix, subjects=[f"{unique_prefix}.probe"], max_msgs=1, discard="new"
        )
    full = check(network, shared_nats_server.port, stream_subject=f"{unique_prefix}.probe")

    assert (await run(full)).status is ProbeStatus.HEALTHY
    result = await run(full)

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.CAPACITY), result
    assert "maximum messages" in result.detail


@pytest.mark.real
async def test_the_login_decides(network: Network, run: Any) -> None:
    users = f"authorization {{ users: [{{user: probe, password: {SECRET}}}] }}"
    async with NatsServer(extra_config=users) as server:
        right = await run(check(network, server.port, NatsLogin(user="probe", password=SECRET)))
        wrong = await run(check(network, server.port, NatsLogin(user="probe", password="wrong" + SECRET)))
        none = await run(check(network, server.port))

    assert right.status is ProbeStatus.HEALTHY, right
    for result in (wrong, none):
        assert (result.status, result.error_class, result.phase) == (ProbeStatus.UNHEALTHY, ErrorClass.AUTH, "login")
    assert SECRET not in repr((right, wrong))


@pytest.mark.real
async def test_a_server_with_tls_is_verified(network: Network, run: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    files = f'cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem"'
    async with NatsServer(extra_config=f"tls {{ {files} }}") as server:
        trusted = await run(check(network, server.port, tls=True, ca_file=str(tmp_path / "ca.pem")))
        unknown = await run(check(network, server.port, tls=True))

    assert trusted.status is ProbeStatus.HEALTHY, trusted
    assert (unknown.status, unknown.error_class, unknown.phase) == (ProbeStatus.UNHEALTHY, ErrorClass.TLS, "tls")


@pytest.mark.real
async def test_a_stopped_server_is_refused_and_a_paused_one_times_out(
    network: Network, run: Any, run_out: Any, nats_server: NatsServer
) -> None:
    await nats_server.pause()
    paused = await run_out(check(network, nats_server.port), lambda result: result.phase == "greeting")
    await nats_server.resume()
    await nats_server.stop()
    stopped = await run(check(network, nats_server.port))

    assert (paused.error_class, paused.phase) == (ErrorClass.TIMEOUT, "greeting")
    assert (stopped.error_class, stopped.phase) == (ErrorClass.REFUSED, "connect")


INFO = b'INFO {"server_name":"s","version":"2.15.1","max_payload":1048576,"ldm":true}\r\n'


async def test_a_server_that_is_about_to_stop_is_degraded(network: Network, run: Any, listening: Any) -> None:
    """Lame duck mode lasts for minutes in production; here the words of it are enough."""

    async def lame_duck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        inbox = b""
        while line := await reader.readline():
            if line.startswith(b"SUB"):
                inbox = line.split()[1]
            elif line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
            elif line.startswith(b"PUB"):
                body = await reader.readline()
                writer.write(b"MSG %s 1 %d\r\n%s" % (inbox, len(body) - 2, body))

    async with listening(lame_duck) as port:
        result = await run(check(network, port))

    assert (result.status, result.error_class) == (ProbeStatus.DEGRADED, ErrorClass.REFUSED), result
    assert "lame duck" in result.detail


def flooding(head: bytes) -> Any:
    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    return flood


@pytest.mark.parametrize(
    "head", [b"", b"INFO ", INFO + b"PONG\r\nMSG _INBOX 1 900000000\r\n"], ids=["noise", "info", "message"]
)
async def test_an_endless_answer_is_cut_off(head: bytes, network: Network, run: Any, listening: Any) -> None:
    async with listening(flooding(head)) as port:
        result = await run(check(network, port))

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.PROTOCOL), result


async def test_no_result_repeats_a_credential(network: Network, run: Any, listening: Any) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        words = await reader.readline()
        writer.write(b"-ERR 'Authorization Violation " + words.strip() + b"'\r\n")
        await reader.read()

    async with listening(echo) as port:
        result = await run(check(network, port, NatsLogin(user="probe", password=SECRET)))

    assert result.error_class is ErrorClass.AUTH
    assert SECRET not in repr(result)

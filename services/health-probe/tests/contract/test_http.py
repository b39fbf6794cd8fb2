"""The HTTP probe against a server on this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from health_probe.adapters.http_session import open_session
from health_probe.attempt import Deadline, Phases, ProbeFailedError
from health_probe.probes.http import Expectations, HttpCheck
from yaoki.events.probe import ErrorClass, ProbeStatus
from yaoki.testing import patient

if TYPE_CHECKING:
    from collections.abc import Callable

    from health_probe.adapters.network import Network

BODY = b'{"status": "healthy", "database": {"replicas": 2, "ok": true}}'


def answering(status: int, body: bytes = BODY, extra: bytes = b"") -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nContent-Type: application/json\r\n" % (status, len(body))
        writer.write(head + extra + b"\r\n" + body)
        await writer.drain()
        await reader.read()

    return answer


def check(network: Network, port: int, expect: Expectations = Expectations(), scheme: str = "http") -> HttpCheck:  # noqa: B008 - frozen
    url = f"{scheme}://127.0.0.1:{port}/health?full=1"
    return HttpCheck(network=network, url=url, method="GET", verify_tls=True, expect=expect)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, ProbeStatus.HEALTHY),
        (204, ProbeStatus.HEALTHY),
        (302, ProbeStatus.HEALTHY),
        (404, ProbeStatus.DEGRADED),
        (429, ProbeStatus.DEGRADED),
        (500, ProbeStatus.UNHEALTHY),
        (503, ProbeStatus.UNHEALTHY),
    ],
)
async def test_the_status_decides(
    status: int, verdict: ProbeStatus, network: Network, run: Any, listening: Callable[..., Any]
) -> None:
    async with listening(answering(status, b"" if status == 204 else BODY)) as port:
        result = await run(check(network, port))

    assert result.status is verdict, result
    assert result.facts["status"] == status


@pytest.mark.parametrize(
    ("expect", "mistake"),
    [
        (Expectations(statuses=(200,)), ""),
        (Expectations(statuses=(201, 204)), "status 200, expected 201, 204"),
        (Expectations(body='"status": "healthy"'), ""),
        (Expectations(body="hunky-dory"), "the body does not contain the expected text"),
        (Expectations(headers={"Content-Type": "application/json"}), ""),
        (Expectations(headers={"X-Ready": "yes"}), "header X-Ready is not 'yes'"),
        (Expectations(json_fields={"status": "healthy", "database.replicas": 2, "database.ok": True}), ""),
        (Expectations(json_fields={"database.replicas": 3}), "JSON field database.replicas is not 3"),
        (Expectations(json_fields={"database.ok": 1}), "JSON field database.ok is not 1"),
        (Expectations(json_fields={"status.deeper": "x"}), "JSON field status.deeper is not 'x'"),
    ],
)
async def test_expectations(
    expect: Expectations, mistake: str, network: Network, run: Any, listening: Callable[..., Any]
) -> None:
    async with listening(answering(200)) as port:
        result = await run(check(network, port, expect))

    assert result.detail == mistake
    assert result.status is (ProbeStatus.UNHEALTHY if mistake else ProbeStatus.HEALTHY)


async def test_an_expected_404_is_healthy(network: Network, run: Any, listening: Callable[..., Any]) -> None:
    async with listening(answering(404)) as port:
        result = await run(check(network, port, Expectations(statuses=(404,))))

    assert result.status is ProbeStatus.HEALTHY


async def test_a_slow_answer_is_degraded(network: Network, run: Any, listening: Callable[..., Any]) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asyncio.get_running_loop().call_later(0.2, writer.write, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with listening(slow) as port:
        late = await run(check(network, port, Expectations(within_s=0.1)))
        in_time = await run(check(network, port, Expectations(within_s=60.0)))

    assert (late.status, late.error_class) == (ProbeStatus.DEGRADED, ErrorClass.TIMEOUT), late
    assert in_time.status is ProbeStatus.HEALTHY


async def test_a_request_that_cannot_be_made_is_the_probers_own_fault(
    network: Network, run: Any, listening: Callable[..., Any]
) -> None:
    """Whoever mistypes a path must not bring about a repair."""
    async with listening(answering(200)) as port:
        mistyped = HttpCheck(
            network=network,
            url=f"http://127.0.0.1:{port}/he alth",
            method="GET",
            verify_tls=True,
            expect=Expectations(),
        )
        result = await run(mistyped)

    assert (result.status, result.error_class) == (ProbeStatus.UNKNOWN, ErrorClass.LOCAL), result


async def test_a_session_that_the_server_ends_early_is_named(network: Network, listening: Callable[..., Any]) -> None:
    async with listening(answering(200, extra=b"Connection: close\r\n")) as port:
        phases = Phases(Deadline.after(patient(5.0)))
        async with open_session(network, phases, f"http://127.0.0.1:{port}") as session:
            first = await session.send(phases, "put", "PUT", "/a", headers={}, body=b"x")
            with pytest.raises(ProbeFailedError, match="closes the connection after a single answer") as failure:
                await session.send(phases, "get", "GET", "/a", headers={})

    assert (first.status, first.body) == (200, BODY)
    assert failure.value.error_class is ErrorClass.PROTOCOL


async def test_a_body_is_never_decompressed(network: Network, run: Any, listening: Callable[..., Any]) -> None:
    """A few kilobytes of zeros would unpack to gigabytes."""
    async with listening(answering(200, b"\x1f\x8b", b"Content-Encoding: gzip\r\n")) as port:
        result = await run(check(network, port, Expectations(body="ok")))

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.PROTOCOL)
    assert "compressed" in result.detail


async def test_plain_http_at_an_https_port_is_a_tls_failure(
    network: Network, run: Any, listening: Callable[..., Any]
) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with listening(plain) as port:
        result = await run(check(network, port, scheme="https"))

    assert (result.status, result.error_class, result.phase) == (
        ProbeStatus.UNHEALTHY,
        ErrorClass.TLS,
        "tls",
    )

"""The kind `tls`: certificates of a real authority, each broken in its own way."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from health_probe.probes.tls import Expiry, TlsCheck, trusting
from yaoki.clock import SystemClock
from yaoki.events.probe import ErrorClass, ProbeStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from health_probe.adapters.network import Network

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def serving(authority: trustme.CA, *names: str, days: float = 365.0) -> ssl.SSLContext:
    """A server's context with a certificate for `names` that expires in `days`."""
    now = datetime.now(UTC)
    certificate = authority.issue_cert(
        *names, not_before=now - timedelta(days=400), not_after=now + timedelta(days=days)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


async def quiet(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


def check(network: Network, port: int, ca_file: str | None, server_name: str | None = None) -> TlsCheck:
    return TlsCheck(
        network=network,
        host="127.0.0.1",
        port=port,
        server_name=server_name,
        ca_file=ca_file,
        expiry=Expiry(warn_within_s=21 * DAY_S, fail_within_s=7 * DAY_S),
        clock=SystemClock(),
    )


@pytest.mark.parametrize(
    ("days", "status"),
    [(365.0, ProbeStatus.HEALTHY), (20.0, ProbeStatus.DEGRADED), (6.5, ProbeStatus.UNHEALTHY)],
)
async def test_the_rest_of_its_life_decides(  # noqa: PLR0917 - fixtures
    days: float, status: ProbeStatus, authority: trustme.CA, ca_file: str, network: Network, run: Any, listening: Any
) -> None:
    async with listening(quiet, serving(authority, "127.0.0.1", days=days)) as port:
        result = await run(check(network, port, ca_file))

    assert result.status is status, result
    assert result.error_class is (None if status is ProbeStatus.HEALTHY else ErrorClass.TLS)
    assert result.facts["days_left"] == pytest.approx(days, abs=0.1)
    assert result.facts["version"] == "TLSv1.3"


@pytest.mark.parametrize(
    ("names", "days", "known", "asked", "words"),
    [
        (("127.0.0.1",), -1.0, True, None, "certificate has expired"),
        (("other.example",), 365.0, True, None, "IP address mismatch"),
        (("other.example",), 365.0, True, "wanted.example", "Hostname mismatch"),
        (("127.0.0.1",), 365.0, False, None, "unable to get local issuer certificate"),
    ],
    ids=["expired", "wrong-address", "wrong-name", "unknown-authority"],
)
async def test_a_broken_certificate_is_named(  # noqa: PLR0917 - fixtures
    names: tuple[str, ...],
    days: float,
    known: bool,  # noqa: FBT001 - a parameter of the table
    asked: str | None,
    words: str,
    authority: trustme.CA,
    ca_file: str,
    network: Network,
    run: Any,
    listening: Any,
) -> None:
    async with listening(quiet, serving(authority, *names, days=days)) as port:
        result = await run(check(network, port, ca_file if known else None, asked))

    assert (result.status, result.error_class, result.phase) == (ProbeStatus.UNHEALTHY, ErrorClass.TLS, "tls")
    assert words in result.detail


async def test_another_name_than_the_address_can_be_verified(
    authority: trustme.CA, ca_file: str, network: Network, run: Any, listening: Any
) -> None:
    async with listening(quiet, serving(authority, "shop.example")) as port:
        result = await run(check(network, port, ca_file, "shop.example"))

    assert result.status is ProbeStatus.HEALTHY, result


async def test_authorities_are_read_once_and_again_when_their_file_has_changed(
    ca_file: str, network: Network, run: Any, listening: Any
) -> None:
    """Reading them takes so long that ten thousand targets would do nothing else."""
    successor = trustme.CA()
    async with listening(quiet, serving(successor, "127.0.0.1")) as port:
        before = await run(check(network, port, ca_file))
        successor.cert_pem.write_to_path(ca_file)
        after = await run(check(network, port, ca_file))

    assert (before.status, after.status) == (ProbeStatus.UNHEALTHY, ProbeStatus.HEALTHY), after
    assert trusting(ca_file) is trusting(ca_file)
    assert trusting(None) is trusting(None)


async def test_a_ca_file_that_cannot_be_read_is_the_probers_own_fault(
    network: Network, run: Any, listening: Any, tmp_path: Path
) -> None:
    async with listening(quiet) as port:
        result = await run(check(network, port, str(tmp_path / "gone.pem")))

    assert (result.status, result.error_class) == (ProbeStatus.UNKNOWN, ErrorClass.LOCAL)
    assert "gone.pem" in result.detail


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # The head of a handshake record of 16 kB that never comes to its end.
    for byte in b"\x16\x03\x03\x40\x00" + bytes(16000):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n" * 1000)
        await writer.drain()


@pytest.mark.parametrize(
    ("behaviour", "error_class"),
    [(quiet, ErrorClass.TIMEOUT), (drip, ErrorClass.TIMEOUT), (flood, ErrorClass.TLS)],
    ids=["silent", "byte-by-byte", "no-tls-at-all"],
)
async def test_a_handshake_that_comes_to_nothing_ends_in_time(
    behaviour: Callable[..., Any], error_class: ErrorClass, network: Network, run_out: Any, listening: Any
) -> None:
    async with listening(behaviour) as port:
        result = await run_out(
            check(network, port, None), lambda result: (result.error_class, result.phase) == (error_class, "tls")
        )

    assert (result.status, result.error_class, result.phase) == (ProbeStatus.UNHEALTHY, error_class, "tls"), result

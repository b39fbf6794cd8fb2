"""What a prober looks at of its own machine: routes as the kernel shows them, references and name servers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.rcode
import pytest
from health_probe.adapters.own_network import OwnNetwork
from health_probe.adapters.own_resolver import SystemResolver
from typing_extensions import override
from yaoki.config import Address
from yaoki.testing import patient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
LOCAL = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
DEFAULT = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
ZEROS = "0" * 32
DEFAULT_V6 = f"{ZEROS} 00 {ZEROS} 00 fe80{'0' * 28} 00000400 00000001 00000000 00450003 eth0\n"
NOWHERE_V6 = f"{ZEROS} 00 {ZEROS} 00 {ZEROS} ffffffff 00000001 00000000 00200200 lo\n"


class Kernel:
    """The files that a kernel shows."""

    def __init__(self, directory: Path) -> None:
        self.proc, self.sys = directory / "proc", directory / "sys"
        self.proc.mkdir()
        (self.sys / "eth0").mkdir(parents=True)
        self.show(DEFAULT)
        self.link("up")

    def show(self, *routes: str, v6: str = NOWHERE_V6) -> None:
        (self.proc / "route").write_text(HEADER + "".join(routes), encoding="ascii")
        (self.proc / "ipv6_route").write_text(v6, encoding="ascii")

    def link(self, state: str) -> None:
        (self.sys / "eth0" / "operstate").write_text(f"{state}\n", encoding="ascii")

    def network(self, *references: Address) -> OwnNetwork:
        return OwnNetwork(references, proc=self.proc, sys=self.sys)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_a_default_route_that_goes_away_is_a_problem_until_it_is_back(kernel: Kernel) -> None:
    network = kernel.network()
    assert network.route_problem() is None

    kernel.show(LOCAL)
    assert network.route_problem() is not None
    kernel.show(LOCAL, v6=DEFAULT_V6)
    assert network.route_problem() is None
    kernel.show(LOCAL, DEFAULT)
    assert network.route_problem() is None


def test_a_link_that_is_down_leads_nowhere(kernel: Kernel) -> None:
    network = kernel.network()
    kernel.link("down")
    assert network.route_problem() is not None

    kernel.link("up")
    assert network.route_problem() is None


def test_a_machine_that_never_had_a_default_route_needs_none(kernel: Kernel) -> None:
    kernel.show(LOCAL)

    assert kernel.network().route_problem() is None


def test_where_the_kernel_shows_nothing_nothing_is_wrong(tmp_path: Path) -> None:
    assert OwnNetwork((), proc=tmp_path, sys=tmp_path).route_problem() is None


async def test_one_reference_that_answers_or_refuses_is_enough(kernel: Kernel, listening: Callable[..., Any]) -> None:
    async def accept(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusing = Address("127.0.0.1", unused.getsockname()[1])
        nowhere = Address("no-such-host.invalid", 1)
        async with listening(accept) as port:
            assert await kernel.network(nowhere, Address("127.0.0.1", port)).reference_problem() is None
        assert await kernel.network(nowhere, refusing).reference_problem() is None
        problem = await kernel.network(nowhere).reference_problem()

    assert problem == "none of the references can be reached (no-such-host.invalid:1)"
    assert await kernel.network().reference_problem() is None


class NameServer(asyncio.DatagramProtocol):
    """Answers every question with one code, or not at all."""

    def __init__(self, code: dns.rcode.Rcode | None) -> None:
        self.code = code
        self.asked = 0
        self._transport: asyncio.DatagramTransport | None = None

    @override
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    @override
    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        if self.code is None or self._transport is None:
            return
        answer = dns.message.make_response(dns.message.from_wire(data))
        answer.set_rcode(self.code)
        self._transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def name_server(code: dns.rcode.Rcode | None) -> AsyncIterator[tuple[NameServer, int]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(code), local_addr=("127.0.0.1", 0))
    try:
        yield server, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def configuration(directory: Path, *servers: str) -> Path:
    path = directory / "resolv.conf"
    lines = ["# written by a test", "search example.org", *(f"nameserver {server}" for server in servers)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("code", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_a_resolver_that_answers_anything_is_there(tmp_path: Path, code: dns.rcode.Rcode) -> None:
    async with name_server(code) as (_, port):
        resolver = SystemResolver(configuration(tmp_path, "127.0.0.1"), port)
        assert await resolver.problem(patient(5.0)) is None


async def test_it_is_not_asked_again_while_its_answer_is_fresh(tmp_path: Path) -> None:
    async with name_server(dns.rcode.NOERROR) as (server, port):
        resolver = SystemResolver(configuration(tmp_path, "127.0.0.1"), port)
        for _ in range(20):
            assert await resolver.problem(patient(5.0)) is None

    assert server.asked == 1


async def test_one_of_several_that_answers_is_enough(tmp_path: Path) -> None:
    async with name_server(dns.rcode.NOERROR) as (_, port):
        resolver = SystemResolver(configuration(tmp_path, "127.0.0.2", "127.0.0.1"), port)
        assert await resolver.problem(patient(5.0)) is None


async def test_a_resolver_that_stays_silent_is_a_problem_until_it_answers(tmp_path: Path) -> None:
    """All who ask meanwhile share one question."""
    async with name_server(None) as (server, port):
        resolver = SystemResolver(configuration(tmp_path, "127.0.0.1"), port)
        problems = await asyncio.gather(*(resolver.problem(0.1) for _ in range(10)))
        assert set(problems) == {"none of its name servers answers (127.0.0.1)"}
        assert server.asked == 1
        assert await resolver.problem(10.0) is not None

        server.code = dns.rcode.NOERROR
        assert await resolver.problem(10.0) is None


async def test_without_a_configuration_nobody_can_be_asked(tmp_path: Path) -> None:
    missing = SystemResolver(tmp_path / "none")

    assert await missing.problem(1.0) == f"{tmp_path / 'none'} names no server to ask"

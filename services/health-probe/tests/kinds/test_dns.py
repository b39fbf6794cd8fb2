"""The kind `dns` against a name server on this machine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from health_probe.probes.dns import DnsCheck, DnsTarget
from typing_extensions import override
from yaoki.config import Address
from yaoki.events.probe import ErrorClass, ProbeStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ZONE = {
    ("db.example.", "A"): ("192.0.2.1", "192.0.2.2"),
    ("db.example.", "AAAA"): ("2001:db8::1",),
    ("www.example.", "CNAME"): ("db.example.",),
    ("example.", "MX"): ("10 mail.example.",),
}


class NameServer(asyncio.DatagramProtocol):
    """Answers from `ZONE`; refuses `refused.example`, says nothing to `silent.example`."""

    @override
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(), question.rdtype.name
        if name == "silent.example.":
            return
        if name == "garbage.example.":
            self.transport.sendto(b"\0" * 20, addr)
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if name == "refused.example.":
            response.set_rcode(dns.rcode.REFUSED)
        elif (name, kind) in ZONE:
            response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *ZONE[name, kind]))
        elif not any(name == known for known, _ in ZONE):
            response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(), addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[Address]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield Address("127.0.0.1", transport.get_extra_info("sockname")[1])
    finally:
        transport.close()


async def ask(run: Any, *more: Any, **target: Any) -> Any:
    async with name_server() as resolver:
        return await run(DnsCheck(DnsTarget(resolver=resolver, **target)), *more)


async def test_a_name_that_resolves_is_well(run: Any) -> None:
    result = await ask(run, name="db.example")

    assert result.status is ProbeStatus.HEALTHY, result
    assert result.facts == {"records": "192.0.2.1, 192.0.2.2", "ttl_s": 60}


@pytest.mark.parametrize(
    ("name", "record", "expect"),
    [
        ("db.example", "A", "192.0.2.2"),
        ("db.example", "AAAA", "2001:0db8:0::1"),
        ("www.example", "CNAME", "DB.example"),
        ("example", "MX", "10 mail.example."),
    ],
)
async def test_what_is_expected_may_be_spelled_in_several_ways(name: str, record: str, expect: str, run: Any) -> None:
    result = await ask(run, name=name, record=record, expect=(expect,))

    assert result.status is ProbeStatus.HEALTHY, result


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"name": "db.example", "expect": ("192.0.2.9",)}, "192.0.2.9 is missing"),
        ({"name": "db.example", "expect": ("192.0.2.1",), "exclusive": True}, "192.0.2.2 is not expected"),
        ({"name": "gone.example"}, "gone.example does not exist"),
        ({"name": "db.example", "record": "TXT"}, "db.example has no TXT record"),
        ({"name": "refused.example"}, "no server answers usefully"),
    ],
    ids=["missing", "surplus", "no-such-name", "no-such-record", "refused"],
)
async def test_a_wrong_answer_is_a_dns_failure(target: dict[str, Any], words: str, run: Any) -> None:
    result = await ask(run, **target)

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.DNS), result
    assert words in result.detail


@pytest.mark.parametrize("name", ["silent.example", "garbage.example"])
async def test_no_answer_is_a_timeout_of_the_query(name: str, run_out: Any) -> None:
    result = await ask(run_out, lambda result: result.phase == "query", name=name)

    assert (result.status, result.error_class, result.phase) == (ProbeStatus.UNHEALTHY, ErrorClass.TIMEOUT, "query")

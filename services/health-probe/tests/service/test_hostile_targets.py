"""The prober as a process against targets that would harm it: each is told for what it is, and nobody else suffers."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from health_probe.adapters.own_resolver import SystemResolver
from yaoki.events.probe import ErrorClass, FailureDetected, ProbeStatus
from yaoki.testing import eventually

if TYPE_CHECKING:
    from .conftest import ProbedSystem

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

WELL = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
GIGABYTE = 1 << 30
PIECE = bytes(1 << 16)
IN_FLIGHT = 64 << 20
"""More than all buffers of the kernel between the two ends hold."""


class Giant:
    """Answers well until told otherwise; then with a gigabyte of zeros, with its length before it or in chunks."""

    def __init__(self, *, chunked: bool) -> None:
        self.harmful = False
        self.sent: list[int] = []
        self.read_to_the_end = 0
        self._head = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % GIGABYTE
        self._piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See `listening`."""
        await reader.readuntil(b"\r\n\r\n")
        if not self.harmful:
            await send(writer, WELL)
            return
        connection = len(self.sent)
        self.sent.append(0)
        await send(writer, b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % self._head)
        while self.sent[connection] < GIGABYTE:
            await send(writer, self._piece)
            self.sent[connection] += len(PIECE)
        self.read_to_the_end += 1

    def answered_often(self) -> bool:
        """Whether it has done harm again and again."""
        return len(self.sent) > 10


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def well(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await send(writer, WELL)


async def byte_by_byte(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + PIECE:
        await send(writer, bytes([byte]))
        await asyncio.sleep(0.01)


def web(port: int, **more: Any) -> dict[str, Any]:
    return {"kind": "http", "url": f"http://127.0.0.1:{port}/", **more}


def forget_peak(pid: int) -> int:
    """Begin to count the peak of a process's memory anew; what it has now, bytes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return peak(pid)


def peak(pid: int) -> int:
    """The most memory that a process has had since then, bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) << 10


async def wait_told(system: ProbedSystem, target: str, expected: list[str]) -> None:
    async def is_told() -> bool:
        assert await system.told(target) == expected, system.log
        return True

    await eventually(is_told, within=60.0)


async def test_a_gigabyte_is_cut_off_and_costs_no_memory(
    system: ProbedSystem, listening: Any, whole_story: list[str]
) -> None:
    """Probed again and again; a neighbour in the same process hears nothing of it."""
    giants = {"plain": Giant(chunked=False), "chunked": Giant(chunked=True)}
    async with (
        listening(giants["plain"].serve) as plain,
        listening(giants["chunked"].serve) as chunked,
        listening(well) as neighbour,
    ):
        targets = {
            "plain": web(plain, timeout="20s"),
            "chunked": web(chunked, timeout="20s"),
            "neighbour": web(neighbour, timeout="20s"),
        }
        system.configure(targets)
        await system.start(*((name, "healthy") for name in targets))
        before = forget_peak(system.pid)

        for giant in giants.values():
            giant.harmful = True
        for name, giant in giants.items():
            await wait_told(system, name, whole_story[:2])
            await eventually(giant.answered_often, within=60.0)
            failed = await system.wait_state(name, "failed")
            assert failed.last.error_class is ErrorClass.PROTOCOL
            assert failed.last.detail == "the target sent more than 1048576 bytes; gave up reading"
            giant.harmful = False
        grown = peak(system.pid) - before
        for name in giants:
            await wait_told(system, name, whole_story)
        assert await system.told("neighbour") == []

    assert grown < 32 << 20, f"{grown >> 20} MiB more than before"
    for giant in giants.values():
        assert max(giant.sent) < IN_FLIGHT
        assert giant.read_to_the_end == 0


async def test_each_hostile_target_is_told_for_what_it_is(system: ProbedSystem, listening: Any) -> None:
    """One that drips, one that never answers, one whose certificate has expired, one without an address."""
    async with (
        listening(byte_by_byte) as dripping,
        listening(silent) as silence,
        listening(well, expired_certificate()) as expired,
        listening(well) as neighbour,
    ):
        targets = {
            "dripping": web(dripping),
            "silent": web(silence),
            "expired": {"kind": "http", "url": f"https://127.0.0.1:{expired}/", "timeout": "10s"},
            "nowhere": {"kind": "http", "url": "http://no-such-host.invalid/"},
            "neighbour": web(neighbour, timeout="20s"),
        }
        system.configure(targets)
        await system.start(("neighbour", "healthy"))

        for name, error_class, phases in (
            ("dripping", ErrorClass.TIMEOUT, {"response", "body"}),
            ("silent", ErrorClass.TIMEOUT, {"response"}),
            ("expired", ErrorClass.TLS, {"tls"}),
        ):
            await wait_told(system, name, ["TargetSuspected", "FailureDetected"])
            detected = (await system.verdicts(name))[-1]
            assert isinstance(detected, FailureDetected)
            assert {result.error_class for result in detected.evidence} == {error_class}
            assert {result.phase for result in detected.evidence} <= phases
        await without_an_address(system, "nowhere")
        await system.wait_state("neighbour", "healthy")
        assert await system.told("neighbour") == []


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await asyncio.Event().wait()


def expired_certificate() -> ssl.SSLContext:
    now = datetime.now(UTC)
    certificate = trustme.CA().issue_cert(
        "127.0.0.1", not_before=now - timedelta(days=30), not_after=now - timedelta(days=1)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


async def without_an_address(system: ProbedSystem, target: str) -> None:
    """A failure of the target where this machine's name servers answer; else the prober's own, and not told."""
    if await SystemResolver().problem(5.0) is None:
        await wait_told(system, target, ["TargetSuspected", "FailureDetected"])
        view = await system.wait_state(target, "failed")
        assert view.last.phase == "dns"
        return

    async def withheld() -> bool:
        view = await system.view(target)
        assert view is not None, system.log
        assert (view.last.status, view.last.error_class) == (ProbeStatus.UNKNOWN, ErrorClass.LOCAL)
        assert "name servers" in view.last.detail or "names no server to ask" in view.last.detail
        return True

    await eventually(withheld, within=60.0)
    assert await system.told(target) == []

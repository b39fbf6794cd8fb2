"""A prober that is frozen or cut off raises nothing against its targets, and misses nothing that is true."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from nats.js.errors import NotFoundError
from yaoki.commands.probe import CheckIn
from yaoki.events.probe import (
    FailureCleared,
    FailureDetected,
    FlappingStopped,
    ProberImpaired,
    ProberRestored,
    TargetFlapping,
    TargetSuspected,
)
from yaoki.testing import eventually
from yaoki_devstack.proxy import TcpProxy

from .conftest import PROBER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yaoki_devstack.redis import RedisServer

    from .conftest import ProbedSystem

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[4]
FROZEN_S = 5.0
SELF_CHECK = {"loop_lag": "2s", "settle": "1s"}
Told = (
    TargetSuspected
    | FailureDetected
    | FailureCleared
    | TargetFlapping
    | FlappingStopped
    | ProberImpaired
    | ProberRestored
)
_decode = msgspec.json.Decoder(Told).decode


async def told(system: ProbedSystem, entity: str) -> list[Told]:
    """All that is stored about a target or a prober, oldest first."""
    subject = system.messaging.subjects.events(context="probe", entity=entity)
    found: list[Told] = []
    sequence = 1
    while True:
        try:
            message = await system.messaging.jetstream.get_msg("EVENTS", sequence, subject=subject, next=True)
        except NotFoundError:
            return found
        found.append(_decode(message.data or b""))
        sequence = (message.seq or 0) + 1


async def wait_told(system: ProbedSystem, entity: str, *names: str) -> list[Told]:
    """As `told`, as soon as it is that."""
    found: list[Told] = []

    async def is_told() -> bool:
        found[:] = await told(system, entity)
        assert [type(event).__name__ for event in found] == list(names), system.log
        return True

    await eventually(is_told, within=30.0)
    return found


async def wait_restored(system: ProbedSystem, reason: str, *, times: int = 1) -> tuple[ProberImpaired, ProberRestored]:
    """The newest impairment for this reason with its end, as soon as there were so many of them.

    A busy machine may stand still by itself: that is an impairment too and is told, so there may be more of them, but
    each ends before the next begins.
    """

    async def is_over() -> tuple[ProberImpaired, ProberRestored]:
        events = await told(system, PROBER)
        begins = [event for event in events[::2] if isinstance(event, ProberImpaired)]
        ends = [event for event in events[1::2] if isinstance(event, ProberRestored)]
        assert len(begins) == len(ends) == len(events) / 2, system.log
        found = [pair for pair in zip(begins, ends, strict=True) if reason in " ".join(pair[0].reasons)]
        assert len(found) >= times, system.log
        return found[-1]

    restored = await eventually(is_over, within=60.0)
    assert restored is not None
    return restored


def http_server(status: Callable[[], int], delay_s: float = 0.0) -> Callable[..., Awaitable[None]]:
    """Answers requests after `delay_s`; `status` gives the status of the next answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(delay_s)
        writer.write(f"HTTP/1.1 {status()} OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".encode())
        await writer.drain()
        await reader.read()

    return serve


def slow_targets(port: int) -> dict[str, Any]:
    """Each has nearly always a probe under way, which times out when the prober stands still; one failure is enough."""
    url = f"http://127.0.0.1:{port}/"
    slow = {"kind": "http", "url": url, "unhealthy_after": 1, "interval": "200ms", "timeout": "3s"}
    return {f"slow-{number}": slow for number in range(5)}


async def freeze(system: ProbedSystem) -> None:
    """SIGSTOP to the prober for `FROZEN_S`, with a probe under way."""
    since = time.monotonic()
    system.processes.pause(PROBER)
    await eventually(lambda: time.monotonic() - since > FROZEN_S, within=30.0)


async def test_a_frozen_prober_blames_nobody_and_finds_what_broke_meanwhile(
    system: ProbedSystem, redis_server: RedisServer, listening: Any
) -> None:
    async with listening(http_server(lambda: 200, delay_s=0.7)) as port:
        cache = {"kind": "redis", "host": "127.0.0.1", "port": redis_server.port, "password": "env:YAOKI_TEST_SECRET"}
        targets = slow_targets(port)
        system.configure({**targets, "cache": cache}, probe={"self_check": SELF_CHECK})
        await system.start(*((name, "healthy") for name in (*targets, "cache")))

        await freeze(system)
        await redis_server.kill()
        system.processes.resume(PROBER)

        impaired, restored = await wait_restored(system, "its event loop stood still for")
        await wait_told(system, "cache", "TargetSuspected", "FailureDetected")
        for name in targets:
            await system.wait_state(name, "healthy")
            assert await told(system, name) == []
    assert restored.since == impaired.since


async def test_a_probe_that_blocks_the_whole_prober_is_nobody_elses_fault(
    system: ProbedSystem, redis_server: RedisServer, listening: Any
) -> None:
    """A defect of one kind stops every other probe; what breaks in that time is told once it goes on."""
    pipe = system.processes.directory / "pipe"
    system.program = (str(Path(__file__).with_name("blocking_prober.py")),)
    async with listening(http_server(lambda: 200, delay_s=0.7)) as port:
        cache = {"kind": "redis", "host": "127.0.0.1", "port": redis_server.port, "password": "env:YAOKI_TEST_SECRET"}
        targets = {**slow_targets(port), "defective": {"kind": "blocking", "pipe": str(pipe)}}
        system.configure({**targets, "cache": cache}, probe={"self_check": SELF_CHECK})
        await system.start(*((name, "healthy") for name in (*targets, "cache")))

        os.mkfifo(pipe)
        writer = await eventually(lambda: blocked_reader(pipe), within=30.0)
        assert writer is not None
        since = time.monotonic()
        await redis_server.kill()
        await eventually(lambda: time.monotonic() - since > FROZEN_S, within=30.0)
        pipe.unlink()
        os.close(writer)

        await wait_restored(system, "its event loop stood still for")
        await wait_told(system, "cache", "TargetSuspected", "FailureDetected")
        for name in targets:
            await system.wait_state(name, "healthy")
            assert await told(system, name) == []


def blocked_reader(pipe: Path) -> int | None:
    """The pipe opened for writing, once somebody waits at its other end."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as exc:
        assert exc.errno == errno.ENXIO  # noqa: PT017 - nobody reads yet
        return None


@pytest.fixture
def wall_clock(system: ProbedSystem) -> Callable[[str], None]:
    """Puts the prober's wall clock forward by so many seconds; its monotonic clocks go on as they are."""
    library = next((ROOT / ".tools/servers").glob("faketime-*/usr/lib/*/faketime/libfaketimeMT.so.1"))
    file = system.processes.directory / "clock"

    def put(offset: str) -> None:
        file.write_text(f"{offset}\n", encoding="ascii")

    put("+0")
    system.environment |= {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    return put


async def test_a_clock_that_jumps_an_hour_and_back_raises_nothing_and_hides_nothing(
    system: ProbedSystem, redis_server: RedisServer, wall_clock: Callable[[str], None]
) -> None:
    """Neither against a server nor against a job that has kept its promise; what breaks afterwards is found."""
    cache = {"kind": "redis", "host": "127.0.0.1", "port": redis_server.port, "password": "env:YAOKI_TEST_SECRET"}
    job = {"kind": "heartbeat", "every": "30m", "grace": "1m"}
    system.configure({"cache": cache, "nightly": job}, probe={"self_check": SELF_CHECK})
    await system.start(("cache", "healthy"))
    await system.messaging.request(CheckIn(target="nightly"))
    await system.wait_state("nightly", "healthy")

    wall_clock("+3600")
    await wait_restored(system, "clock")
    await system.wait_state("cache", "healthy")
    wall_clock("+0")
    await wait_restored(system, "clock", times=2)
    await system.wait_state("cache", "healthy")
    assert await told(system, "cache") == await told(system, "nightly") == []
    await redis_server.kill()

    await wait_told(system, "cache", "TargetSuspected", "FailureDetected")
    assert await told(system, "nightly") == []


async def test_a_prober_that_is_cut_off_from_everything_blames_itself(
    system: ProbedSystem, redis_server: RedisServer
) -> None:
    """Its targets and NATS vanish in the same moment; one of them is really down when the way is free again."""
    async with AsyncExitStack() as stack:
        way_to_nats = await stack.enter_async_context(TcpProxy(system.nats.port))
        ways = [await stack.enter_async_context(TcpProxy(redis_server.port)) for _ in range(6)]
        password = {"password": "env:YAOKI_TEST_SECRET"}
        slowly = {"suspect_interval": "1s", "interval": "1s", "unhealthy_after": 5}
        targets = {
            f"t{number}": {"kind": "redis", "host": "127.0.0.1", "port": way.port, **password, **slowly}
            for number, way in enumerate(ways)
        }
        nats = {"servers": [f"nats://127.0.0.1:{way_to_nats.port}"], "require_sync": False}
        system.configure(targets, probe={"self_check": SELF_CHECK}, nats=nats)
        await system.start(*((name, "healthy") for name in targets))

        for way in (way_to_nats, *ways):
            await way.cut()
        await eventually(lambda: "turned bad with it" in system.log, within=30.0)
        ready = await system.get("/ready")
        assert ready.status_code == 503
        assert any("turned bad with it" in reason for reason in ready.json()["reasons"])
        for way in (way_to_nats, *ways[1:]):
            await way.restore()

        await wait_restored(system, "turned bad with it")
        names = [type(event).__name__ for event in await told(system, "t0")]
        assert "FailureCleared" not in names
        await eventually_detected(system, "t0")
        for name in [*targets][1:]:
            await system.wait_state(name, "healthy")
            assert {type(event) for event in await told(system, name)} <= {TargetSuspected}


async def eventually_detected(system: ProbedSystem, target: str) -> None:
    async def detected() -> bool:
        names = [type(event).__name__ for event in await told(system, target)]
        assert names.count("FailureDetected") == 1, names
        return True

    await eventually(detected, within=30.0)


async def test_a_target_that_goes_up_and_down_is_told_once_until_it_is_steady(
    system: ProbedSystem, listening: Any
) -> None:
    """Three failures, two successes, and again; then all is well."""
    steady = False
    answers = 0

    def status() -> int:
        nonlocal answers
        answers += 1
        return 200 if steady or answers % 5 in (3, 4) else 500

    async with listening(http_server(status)) as port:
        url = f"http://127.0.0.1:{port}/"
        system.configure({"shop": {"kind": "http", "url": url, "expect_status": [200]}})
        system.launch()
        await system.wait_state("shop", "flapping")
        await eventually(lambda: answers > 40, within=30.0)
        during: list[Any] = await told(system, "shop")
        assert [type(event).__name__ for event in during].count("TargetFlapping") == 1
        assert isinstance(during[-1], TargetFlapping)
        view = await system.view("shop")
        assert view is not None
        assert view.incident_id is not None

        await system.kill()
        await system.start(("shop", "flapping"))
        steady = True
        await system.wait_state("shop", "healthy")

        async def is_over() -> bool:
            names = [type(event).__name__ for event in await told(system, "shop")]
            assert names.count("FlappingStopped") == names.count("TargetFlapping") == 1, names
            assert names.count("FailureDetected") == names.count("FailureCleared"), names
            return True

        await eventually(is_over, within=20.0)

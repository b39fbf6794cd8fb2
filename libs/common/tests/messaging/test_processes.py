"""Processes that die, freeze, lose their connection for good, or are told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from yaoki.events.agent import ServerStarted
from yaoki.messaging import Messaging
from yaoki.testing import eventually, patient

from .conftest import shorten_ack_wait
from .observing import Recorder, letters, stream_messages, unsettled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from yaoki.messaging import NatsSettings
    from yaoki_devstack.nats import NatsServer

    Build = Callable[[str], ServerStarted]
    Spawn = Callable[[str], Awaitable["Child"]]

pytestmark = pytest.mark.real

ACK_WAIT_S = 2.0
MOST_DELIVERIES = 3
"""To handlers that die: `transient_attempts` of the child's policy."""


class Child:
    """The service process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    def lines(self) -> list[str]:
        """What the handler has written."""
        return self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []

    async def ended(self, within: float = 15.0) -> tuple[int, str]:
        """Exit status and standard error."""
        async with asyncio.timeout(patient(within)):
            _, errors = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, errors.decode()


@pytest.fixture
async def spawn(provisioned: NatsSettings, server: NatsServer, tmp_path: Path) -> AsyncIterator[Spawn]:
    """Starts the service with a behaviour and waits until it is ready; ends it after the test."""
    children: list[Child] = []

    async def start(behaviour: str) -> Child:
        log = tmp_path / f"{behaviour}-{len(children)}.log"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("service.py")),
            provisioned.servers[0],
            server.monitor_url,
            behaviour,
            str(log),
            stderr=asyncio.subprocess.PIPE,
        )
        child = Child(process, log)
        children.append(child)
        await eventually(lambda: "ready" in child.lines(), within=30)
        return child

    yield start
    for child in children:
        if child.process.returncode is None:
            child.process.kill()
            await child.process.communicate()


async def test_a_message_whose_handler_is_killed_is_delivered_again(
    messaging: Messaging, provisioned: NatsSettings, spawn: Spawn, started: Build
) -> None:
    await shorten_ack_wait(provisioned, ACK_WAIT_S)
    child = await spawn("die")
    await messaging.publisher.publish(started("pg-a"))
    status, _ = await child.ended()
    assert status == -signal.SIGKILL
    handler = Recorder[ServerStarted]()
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
    await messaging.start()
    await eventually(lambda: handler.calls)
    event, envelope, _ = handler.calls[0]
    assert event.member == "pg-a"
    assert envelope.deliveries > 1


@pytest.mark.timeout(400)  # starts four processes, one after the other
async def test_a_message_that_kills_every_handler_is_put_aside(
    messaging: Messaging, provisioned: NatsSettings, spawn: Spawn, started: Build
) -> None:
    await shorten_ack_wait(provisioned, ACK_WAIT_S)
    await messaging.publisher.publish(started("pg-a"))
    begun: list[str] = []

    async def died(child: Child) -> bool:
        """Whether the message killed it; the other end is a letter."""

        async def settled() -> bool:
            return child.process.returncode is not None or bool(await letters(messaging))

        await eventually(settled, within=20)
        begun.extend(line for line in child.lines() if line.startswith("begin"))
        return child.process.returncode is not None

    while await died(await spawn("die")):
        # A delivery that no handler saw, because its process was dying, counts as well.
        assert len(begun) <= MOST_DELIVERIES, begun
    (letter,) = await letters(messaging)
    assert (letter.headers or {})["yaoki-dlq-reason"] == "max-deliver"
    assert 0 < len(begun) <= MOST_DELIVERIES, begun


async def test_a_frozen_loop_ends_the_process_with_70_and_its_stacks(
    messaging: Messaging, spawn: Spawn, started: Build
) -> None:
    child = await spawn("freeze")
    await messaging.publisher.publish(started("pg-a"))
    status, errors = await child.ended()
    assert status == 70
    assert "stood still" in errors
    assert "service.py" in errors


async def test_a_connection_closed_for_good_ends_the_process_with_70(server: NatsServer, spawn: Spawn) -> None:
    child = await spawn("nothing")
    await rotate_password(server)
    status, errors = await child.ended()
    assert status == 70
    assert "closed for good" in errors


async def rotate_password(server: NatsServer) -> None:
    """Have the server demand a password that its clients do not have, without a restart."""
    text = server.config_file.read_text(encoding="utf-8")
    server.config_file.write_text(f"{text}\nauthorization {{ user: u, password: p }}\n", encoding="utf-8")
    await server.reload()


async def test_sigterm_finishes_what_runs_and_gives_back_the_rest(
    messaging: Messaging, spawn: Spawn, started: Build
) -> None:
    child = await spawn("slow")
    for number in range(12):
        await messaging.publisher.publish(started(f"m{number}"))
    await eventually(lambda: sum(line.startswith("begin") for line in child.lines()) == 8)
    child.process.send_signal(signal.SIGTERM)
    status, _ = await child.ended()
    assert status == 0
    lines = child.lines()
    assert lines[-1] == "stopped"
    begun = {line.split()[1] for line in lines if line.startswith("begin")}
    ended = {line.split()[1] for line in lines if line.startswith("end")}
    assert begun == ended
    handler = Recorder[ServerStarted]()
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
    await messaging.start()
    await eventually(lambda: len(handler.calls) == 12 - len(begun))
    assert {event.member for event, _, _ in handler.calls} == {f"m{n}" for n in range(12)} - begun
    assert await stream_messages(messaging, "DLQ") == []


async def test_a_service_waits_for_a_server_that_is_not_there_yet(
    provisioned: NatsSettings, server: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await server.stop()

    async def connect() -> Messaging:
        return await Messaging.connect(provisioned, service="recovery", instance="early")

    connecting = asyncio.create_task(connect())
    said = ""

    def says_so() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return "waiting for nats" in said

    await eventually(says_so)
    assert not connecting.done()
    await server.start()
    messaging = await asyncio.wait_for(connecting, patient(10))
    await eventually(lambda: messaging.healthy() == [])
    await messaging.stop()


async def test_handlers_resume_when_the_server_is_back(
    messaging: Messaging, provisioned: NatsSettings, server: NatsServer, started: Build
) -> None:
    # The acknowledgement of what came before may be lost with the server: then it is delivered again.
    await shorten_ack_wait(provisioned, ACK_WAIT_S)
    handler = Recorder[ServerStarted]()
    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
    await messaging.start()
    await messaging.publisher.publish(started("before"))
    await eventually(lambda: len(handler.calls) == 1)
    await server.kill()
    await eventually(lambda: messaging.healthy() == ["NATS is not connected"])
    await server.start()
    await messaging.publisher.publish(started("after"))
    await eventually(lambda: "after" in {event.member for event, _, _ in handler.calls}, within=10)
    await eventually(lambda: messaging.healthy() == [])

    async def settled() -> bool:
        return await unsettled(messaging, "EVENTS", "recovery-starts") == 0

    await eventually(settled)

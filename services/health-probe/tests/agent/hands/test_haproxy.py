"""Servers are drained and weighted through the runtime API of a real HAProxy."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from health_probe.agent.hands.haproxy import SetServer
from yaoki.config import BalancerSettings, Repairs
from yaoki.plans import OutcomeStatus
from yaoki.testing import eventually
from yaoki_devstack.ports import lease as lease_port

from .conftest import ROOT
from .orders import Agent, succeeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.real]

_CONFIG = """
global
  stats socket {socket} mode 600 level admin
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen app
  bind 127.0.0.1:{front}
  balance roundrobin
  server web1 127.0.0.1:{first} weight 10
  server web2 127.0.0.1:{second} weight 10
"""


class Balancer:
    """HAProxy before two TCP servers that greet with their name."""

    def __init__(self, socket: Path, front: int) -> None:
        self.socket = socket
        self.front = front

    @property
    def agent(self) -> Agent:
        return Agent(SetServer(Repairs(haproxy=BalancerSettings(socket=str(self.socket), backends=("app",)))))

    async def connect(self) -> tuple[str, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.front)
        return (await reader.readline()).decode().strip(), writer

    async def who_answers(self, times: int) -> set[str]:
        names = set()
        for _ in range(times):
            name, writer = await self.connect()
            await _close(writer)
            names.add(name)
        return names


@pytest.fixture
async def balancer(tmp_path: Path) -> AsyncIterator[Balancer]:
    conversations: set[asyncio.Task[None]] = set()

    async def greeter(name: str) -> asyncio.Server:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                writer.write(f"{name}\n".encode())
                await reader.read()
            await _close(writer)

        def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            conversations.add(asyncio.create_task(talk(reader, writer)))

        return await asyncio.start_server(greet, "127.0.0.1", 0)

    servers = [await greeter(name) for name in ("web1", "web2")]
    first, second = (server.sockets[0].getsockname()[1] for server in servers)
    front = lease_port()
    socket, file = tmp_path / "haproxy.sock", tmp_path / "haproxy.cfg"
    text = _CONFIG.format(socket=socket, front=front.number, first=first, second=second)
    file.write_text(text, encoding="ascii")
    program = shutil.which("haproxy") or str(ROOT / ".tools/bin/haproxy")
    process = subprocess.Popen([program, "-db", "-f", str(file)])  # noqa: ASYNC220,S603 - a server of this test
    one = Balancer(socket, front.number)
    try:
        await eventually(lambda: _accepts(one), within=10.0)
        yield one
    finally:
        process.kill()
        process.wait(10)
        front.release()
        for server in servers:
            server.close()
        await asyncio.gather(*conversations)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _accepts(balancer: Balancer) -> bool:
    try:
        return bool(await balancer.who_answers(1))
    except OSError:
        return False


async def test_a_server_is_drained_and_made_ready_again(balancer: Balancer) -> None:
    """New connections go elsewhere; the order waits for those that there are; a repeat changes nothing."""
    connections = [await balancer.connect(), await balancer.connect()]
    held = next(writer for name, writer in connections if name == "web1")
    drain = {"backend": "app", "server": "web1", "state": "drain", "patience_s": 60.0}
    agent = balancer.agent

    seen = await agent.look(**drain)
    draining = asyncio.create_task(agent.perform(**drain, before=seen["before"]))
    await eventually(lambda: _only(balancer, {"web2"}))
    assert not draining.done()
    await _close(held)
    drained = succeeded(await draining)
    again = succeeded(await agent.reborn().perform(**drain, before=seen["before"]))
    ready = succeeded(await agent.perform(backend="app", server="web1", state="ready"))

    assert "from state ready and weight 10; besides it web2 serves" in seen["would"]
    assert (drained["state"], drained["sessions"]) == ("drain", 0)
    assert again["already"] is True
    assert ready["state"] == "ready"
    assert await balancer.who_answers(4) == {"web1", "web2"}
    for _, writer in connections:
        await _close(writer)


async def _only(balancer: Balancer, names: set[str]) -> bool:
    return await balancer.who_answers(4) == names


async def test_a_weight_is_set_and_read_back(balancer: Balancer) -> None:
    """Weight 0 sends nobody new."""
    result = succeeded(await balancer.agent.perform(backend="app", server="web2", weight=0))

    assert result["weight"] == 0
    assert await balancer.who_answers(4) == {"web1"}


@pytest.mark.parametrize("state", ["drain", "ready"])
async def test_maintenance_is_ended_by_who_began_it(balancer: Balancer, state: str) -> None:
    """A restart of the instance must not send users to a server that somebody works on."""
    agent = balancer.agent
    succeeded(await agent.perform(backend="app", server="web1", state="maint"))

    outcome = await agent.perform(backend="app", server="web1", state=state)

    assert outcome.status is OutcomeStatus.SKIPPED
    assert "is in maintenance" in outcome.error
    assert await balancer.who_answers(2) == {"web2"}


@pytest.mark.parametrize("closing", [{"state": "drain"}, {"state": "maint"}, {"weight": 0}])
async def test_the_last_server_is_never_taken_away(balancer: Balancer, closing: dict[str, object]) -> None:
    """Whatever the other was closed by."""
    agent = balancer.agent
    succeeded(await agent.perform(backend="app", server="web1", **closing))

    for last in ({"state": "drain"}, {"state": "maint"}, {"weight": 0}):
        outcome = await agent.perform(backend="app", server="web2", **last)
        assert outcome.status is OutcomeStatus.SKIPPED
        assert "last server of app" in outcome.error

    assert await balancer.who_answers(2) == {"web2"}


@pytest.mark.parametrize(
    ("params", "status", "says"),
    [
        (
            {"backend": "stats", "server": "web1", "weight": 1},
            OutcomeStatus.REFUSED,
            "repairs.haproxy.backends allows app",
        ),
        ({"backend": "app", "server": "web9", "weight": 1}, OutcomeStatus.SKIPPED, "it has web1, web2"),
        ({"backend": "app", "server": "web1"}, OutcomeStatus.REFUSED, "neither state nor weight"),
        ({"backend": "app", "server": "web1", "weight": 257}, OutcomeStatus.REFUSED, "expected 0 to 256"),
        (
            {"backend": "app", "server": "web1;shutdown sessions server app/web1", "weight": 1},
            OutcomeStatus.REFUSED,
            "no name",
        ),
        ({"backend": "app", "server": "web1", "state": "on"}, OutcomeStatus.REFUSED, "state"),
    ],
)
async def test_wrong_orders_are_explained(
    balancer: Balancer, params: dict[str, object], status: OutcomeStatus, says: str
) -> None:
    """And change nothing."""
    outcome = await balancer.agent.perform(**params)

    assert outcome.status is status
    assert says in outcome.error
    assert await balancer.who_answers(4) == {"web1", "web2"}

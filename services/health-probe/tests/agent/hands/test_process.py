"""Processes with a PID file: ended, killed, started again, and nobody else touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from health_probe.agent.hands.pids import all_processes, process
from health_probe.agent.hands.process import RestartProcess
from yaoki.config import ProcessSettings, Repairs
from yaoki.plans import OutcomeStatus
from yaoki.testing import eventually

from .orders import Agent, succeeded

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = os.path.realpath(sys.executable)
# Writes its PID file when it is ready; `deaf` ignores SIGTERM, `children` starts one, which inherits that.
_SERVER = """
import os, signal, subprocess, sys, pathlib
pid_file, *traits = sys.argv[1:]
if "deaf" in traits:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "children" in traits:
    subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
pathlib.Path(pid_file).write_text(f"{os.getpid()}\\n")
signal.pause()
"""


class Server:
    """A server with a PID file."""

    def __init__(self, directory: Path, *traits: str) -> None:
        self.pid_file = directory / "server.pid"
        self.command = (PYTHON, "-c", _SERVER, str(self.pid_file), *traits)
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(self.command, start_new_session=True)  # noqa: S603 - this interpreter, this file
        self._children.append(child)
        return child

    def pid(self) -> int:
        return int(self.pid_file.read_text(encoding="ascii") or 0) if self.pid_file.exists() else 0

    def stop(self) -> None:
        """Kill every process whose command names this server's PID file, with its group."""
        for one in all_processes():
            with suppress(OSError):
                if os.fsencode(self.pid_file) in Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0"):
                    os.killpg(one.group, signal.SIGKILL)
        for child in self._children:
            child.wait(10)


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    one = Server(tmp_path, *getattr(request, "param", ()))
    yield one
    one.stop()


def agent_of(server: Server, *, starts: bool = True, group: bool = False, program: str = PYTHON) -> Agent:
    settings = ProcessSettings(
        pid_file=str(server.pid_file),
        program=program,
        group=group,
        patience=0.5,
        start=server.command if starts else (),
        started_within=20.0,
    )
    return Agent(RestartProcess(Repairs(processes={"orders": settings})))


async def running(server: Server) -> int:
    return await eventually(server.pid, within=20.0)


async def test_a_process_is_restarted_once(server: Server) -> None:
    """A repeat of the order by another process of the agent finds the new one and leaves it."""
    old = server.start()
    await running(server)
    agent = agent_of(server)

    seen = await agent.look(process="orders")
    assert f"end process {old.pid}" in seen["would"]
    assert old.poll() is None
    first = succeeded(await agent.perform(process="orders", before=seen["before"]))
    again = succeeded(await agent.reborn().perform(process="orders", before=seen["before"]))

    assert (first["ended"], first["killed"]) == (1, 0)
    assert old.wait(10) == -signal.SIGTERM
    assert first["pid"] == server.pid() != old.pid
    assert again["already"] is True
    assert process(first["pid"]) is not None


@pytest.mark.parametrize("server", [("deaf", "children")], indirect=True)
async def test_a_group_that_does_not_listen_is_killed_whole(server: Server) -> None:
    """The leader and its child ignore SIGTERM."""
    old = server.start()
    await running(server)
    agent = agent_of(server, group=True)

    result = succeeded(await agent.perform(process="orders"))

    assert result["killed"] == 2
    assert old.wait(10) == -signal.SIGKILL
    assert [one for one in all_processes() if one.group == old.pid] == []


async def test_what_died_between_end_and_start_is_started_by_the_repeat(server: Server) -> None:
    """The agent died after it had ended the process: the repeat sees that nobody runs, and starts one."""
    old = server.start()
    await running(server)
    agent = agent_of(server)
    seen = await agent.look(process="orders")
    old.kill()
    old.wait(10)

    result = succeeded(await agent.reborn().perform(process="orders", before=seen["before"]))

    assert result["ended"] == 0
    assert process(result["pid"]) is not None


async def test_a_stale_pid_file_hits_nobody(server: Server) -> None:
    """The number belongs to another program now."""
    other = subprocess.Popen(["/bin/sleep", "60"])  # noqa: ASYNC220 - a bystander
    server.pid_file.write_text(str(other.pid), encoding="ascii")
    try:
        outcome = await agent_of(server).perform(process="orders")

        assert outcome.status is OutcomeStatus.SKIPPED
        assert "expected" in outcome.error
        assert other.poll() is None
    finally:
        other.kill()
        other.wait(10)


@pytest.mark.parametrize(("content", "says"), [("what", "holds no process number"), (str(os.getppid()), "ancestor")])
async def test_a_pid_file_with_nonsense_hits_nobody(server: Server, content: str, says: str) -> None:
    """Neither is the agent's own line ended."""
    server.pid_file.write_text(content, encoding="ascii")

    outcome = await agent_of(server).perform(process="orders")

    assert outcome.status is OutcomeStatus.SKIPPED
    assert says in outcome.error


async def test_without_a_process_and_a_command_there_is_nothing_to_do(server: Server) -> None:
    """The step is skipped; with a command it would be started."""
    agent = agent_of(server, starts=False)

    outcome = await agent.perform(process="orders")
    refused = await agent.perform(process="billing")

    assert outcome.status is OutcomeStatus.SKIPPED
    assert refused.status is OutcomeStatus.REFUSED
    assert "repairs.processes allows orders" in refused.error

"""Processes that exceed the limits of a rule are ended after the largest consumers have been recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from health_probe.agent.hands.ending import EndProcesses
from yaoki.config import ProcessRule, Repairs
from yaoki.plans import OutcomeStatus
from yaoki.testing import eventually

from .orders import Agent, succeeded

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
PYTHON = Path(os.path.realpath(sys.executable))
_HOG = "import signal, sys; held = bytearray(int(sys.argv[1])); print('ready', flush=True); signal.pause()"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program of the test's own, so that no rule can hit anybody else: this interpreter under another name."""
    copy = tmp_path / "hog"
    copy.write_bytes(PYTHON.read_bytes())
    copy.chmod(0o700)
    return copy


@pytest.fixture
def hogs(program: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes of the program: one with 80 MiB, one with little."""
    home = {"PYTHONHOME": sys.base_prefix, "PATH": os.environ.get("PATH", "")}
    children = [
        subprocess.Popen([program, "-c", _HOG, str(size)], stdout=subprocess.PIPE, env=home)  # noqa: S603 - a copy of this interpreter
        for size in (80 * MIB, 0)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
    yield children
    for child in children:
        child.kill()
        child.wait(10)
        assert child.stdout is not None
        child.stdout.close()


def agent_of(program: Path, **limits: float) -> Agent:
    rule = ProcessRule(program=str(program), older_than=0.0, patience=5.0, **limits)  # type: ignore[arg-type]  # bytes and percent
    return Agent(EndProcesses(Repairs(clean_up={"hogs": rule})))


async def test_only_what_exceeds_the_limit_is_ended(program: Path, hogs: list[subprocess.Popen[bytes]]) -> None:
    """The largest consumers stand in the dry run, which is kept in the run's journal."""
    large, small = hogs
    agent = agent_of(program, memory=60 * MIB)

    seen = await agent.look()
    assert large.poll() is None
    result = succeeded(await agent.perform(before=seen["before"]))

    assert f"end {large.pid} ({program}" in seen["would"]
    assert len(seen["facts"]["largest_memory"]) == 10
    amounts = [one["memory"] for one in seen["facts"]["largest_memory"]]
    assert amounts == sorted(amounts, reverse=True)
    assert seen["facts"]["largest_cpu"]
    assert result["ended"] == 1
    assert large.wait(10) == -signal.SIGTERM
    assert small.poll() is None


async def test_all_limits_have_to_be_exceeded(program: Path, hogs: list[subprocess.Popen[bytes]]) -> None:
    """The large one sleeps, so a rule that asks for processor time as well spares it; a rule without limits all."""
    idle = await agent_of(program, memory=60 * MIB, cpu=50.0).perform()
    nothing = await agent_of(program).perform()

    assert idle.status is nothing.status is OutcomeStatus.SKIPPED
    assert "no process exceeds the limits of hogs" in idle.error
    assert [hog.poll() for hog in hogs] == [None, None]


async def test_a_repeat_ends_nobody_else(program: Path, hogs: list[subprocess.Popen[bytes]]) -> None:
    """A process that became large since is not part of the order."""
    agent = agent_of(program, memory=60 * MIB)
    seen = await agent.look()
    hogs[0].kill()
    await eventually(lambda: hogs[0].poll() is not None)
    everything = agent_of(program, memory=MIB)

    again = succeeded(await everything.perform(before=seen["before"]))

    assert again["already"] is True
    assert hogs[1].poll() is None


async def test_the_agents_own_line_is_spared() -> None:
    """However the rule is written; this only looks."""
    agent = agent_of(PYTHON, memory=1)
    seen = await agent.perform(dry_run=True)

    assert str(os.getpid()) not in seen.result.get("before", {}).get("processes", {})
    assert str(os.getppid()) not in seen.result.get("before", {}).get("processes", {})

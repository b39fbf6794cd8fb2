"""The watchdog stops a server that may no longer write, whatever became of the agent."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from health_probe.agent import durable
from health_probe.agent.durable import boottime
from health_probe.agent.watchdog import WatchdogClient
from yaoki.epoch import Epoch
from yaoki.testing import eventually, patient
from yaoki_devstack.process import spawn

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from .conftest import Guarded

    StartCluster = Callable[..., AbstractAsyncContextManager[Guarded]]

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


async def last_commit(guarded: Guarded, member: str, until: float) -> float:
    """Write to the member all along and return when (CLOCK_BOOTTIME) the last write began that was acknowledged."""
    last = 0.0
    while (began := boottime()) < until:
        if await guarded.writes(member, within_s=0.5):
            last = began
    return last


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_server_stops_by_the_deadline_without_its_agent(pair: Guarded, signum: signal.Signals) -> None:
    """An agent that is dead or hangs: no commit after ttl, and not one process is left."""
    agent = pair.agents["pg-a"]
    agent.signal(signum)
    struck = boottime()
    last = await last_commit(pair, "pg-a", struck + pair.ttl_s + 1.0)
    assert last < struck + pair.ttl_s
    await eventually(lambda: not pair.processes("pg-a"), within=5)
    agent.signal(signal.SIGKILL)


async def test_an_agent_that_wakes_after_a_revocation_starts_nothing(pair: Guarded) -> None:
    """SIGSTOP, revocation, promotion of the other, SIGCONT: the old server stays down until it follows the new one."""
    agent = pair.agents["pg-a"]
    agent.signal(signal.SIGSTOP)
    await eventually(lambda: not pair.processes("pg-a"), within=pair.ttl_s + 5)
    outcome = await pair.failover("pg-b", Epoch(1, 1))
    assert outcome.status == "succeeded", outcome
    agent.signal(signal.SIGCONT)
    await eventually(lambda: pair.streams("pg-a"), within=30)
    assert (await pair.record()).holder == "pg-b"


async def test_a_killed_watchdog_is_replaced_and_guards_again(pair: Guarded) -> None:
    """The primary serves on; when the agent dies next, the new watchdog stops it by the same deadline."""
    agent = pair.agents["pg-a"]
    first = agent.watchdog_pid()
    serving = pair.processes("pg-a")
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: _other(agent.watchdog_pid, first), within=10)
    await eventually(lambda: pair.serves("pg-a"), within=10)
    assert serving & pair.processes("pg-a"), "the server was restarted"
    await _guarding_again(pair)
    agent.kill()
    await eventually(lambda: not pair.processes("pg-a"), within=pair.ttl_s + 5)


async def test_a_watchdog_that_hangs_is_replaced(pair: Guarded) -> None:
    """A stopped watchdog keeps its lock and guards nothing; the agent ends it and has another before the deadline."""
    agent = pair.agents["pg-a"]
    first = agent.watchdog_pid()
    os.kill(first, signal.SIGSTOP)
    await eventually(lambda: _other(agent.watchdog_pid, first), within=10)
    await eventually(lambda: not Path(f"/proc/{first}").exists(), within=10)
    await eventually(lambda: pair.serves("pg-a"), within=10)


async def test_without_any_watchdog_the_holder_stops(pair: Guarded) -> None:
    """A watchdog that cannot be had: the server is stopped before the lease ends, by the agent itself."""
    agent = pair.agents["pg-a"]
    socket_file = agent.state_directory / "watchdog.sock"
    (agent.state_directory / "watchdog.log").unlink()
    (agent.state_directory / "watchdog.log").mkdir()  # the next one cannot be started
    os.kill(agent.watchdog_pid(), signal.SIGKILL)
    struck = boottime()
    last = await last_commit(pair, "pg-a", struck + pair.ttl_s + 0.5)
    assert last < struck + pair.ttl_s
    await eventually(lambda: not pair.processes("pg-a"), within=5)
    assert socket_file.exists()


async def test_a_restarted_agent_takes_the_watchdog_and_the_server_over(start_cluster: StartCluster) -> None:
    """Killed and started again within the lease: same watchdog, same server, no interruption."""
    async with start_cluster(ttl_s=60.0) as guarded:
        agent = guarded.agents["pg-a"]
        watchdog, serving = agent.watchdog_pid(), guarded.processes("pg-a")
        agent.kill()
        agent.start()
        await eventually(lambda: guarded.serves("pg-a"), within=20)
        assert agent.watchdog_pid() == watchdog
        assert serving & guarded.processes("pg-a"), "the server was restarted"


async def _fresh_renewal(guarded: Guarded) -> None:
    before = (await guarded.record()).renewals

    async def renewed() -> bool:
        return (await guarded.record()).renewals > before

    await eventually(renewed, within=20)


async def _guarding_again(guarded: Guarded) -> None:
    await _fresh_renewal(guarded)
    await _fresh_renewal(guarded)


def _other(pid: object, first: int) -> bool:
    with suppress(AssertionError):
        return callable(pid) and pid() != first
    return False


async def test_watchdogs_of_one_directory_exclude_each_other(pair: Guarded) -> None:
    """A second one ends at once, with status 0, and leaves the first alone."""
    agent = pair.agents["pg-a"]
    words = ("--data-directory", str(pair.nodes["pg-a"].data_dir), "--state-directory", str(agent.state_directory))
    second = await asyncio.create_subprocess_exec(sys.executable, "-m", "health_probe.agent.watchdog_main", *words)
    async with asyncio.timeout(patient(20)):
        assert await second.wait() == 0
    await eventually(lambda: pair.serves("pg-a"), within=10)


async def test_an_agent_that_restarts_during_a_promotion_keeps_the_guard(start_cluster: StartCluster) -> None:
    """What the agent before it began would end in a primary that nobody holds to a deadline."""
    async with start_cluster(ttl_s=12.0) as guarded:
        agent = guarded.agents["pg-b"]
        await guarded.revoke(Epoch(1, 1))
        await eventually(lambda: not guarded.processes("pg-a"), within=10)
        startup = _startup_process(guarded.processes("pg-b"))
        os.kill(startup, signal.SIGSTOP)  # the promotion takes long
        promotion = asyncio.create_task(guarded.order("pg-b", "postgres.promote", Epoch(1, 1)))
        await eventually(lambda: _holds(guarded, "pg-b"), within=20)
        await eventually((guarded.nodes["pg-b"].data_dir / "promote").exists, within=20)
        agent.kill()
        promotion.cancel()
        agent.start()
        await eventually(lambda: guarded.answers("pg-b"), within=20)
        agent.kill()
        with suppress(ProcessLookupError):
            os.kill(startup, signal.SIGCONT)
        over = boottime() + guarded.ttl_s
        await eventually(lambda: boottime() > over, within=guarded.ttl_s + 5)
        assert not await guarded.writes("pg-b")


async def _holds(guarded: Guarded, member: str) -> bool:
    return (await guarded.record()).holder == member


def _startup_process(pids: frozenset[int]) -> int:
    return next(pid for pid in pids if b"startup" in Path(f"/proc/{pid}/cmdline").read_bytes())


async def test_a_watchdog_ends_when_what_it_guards_is_removed(tmp_path: Path) -> None:
    """Armed and alone over a directory that is gone with all its processes: there is nothing to stop any more."""
    directory = tmp_path / "server"
    (directory / "data").mkdir(parents=True)
    state = tmp_path / "state"
    state.mkdir()
    words = ("--data-directory", directory / "data", "--state-directory", state)
    watchdog = spawn(
        [sys.executable, "-m", "health_probe.agent.watchdog_main", *words], cwd=tmp_path, log_file=state / "log"
    )
    await eventually((state / "watchdog.sock").exists, within=20)
    client = WatchdogClient(directory / "data", state, on_lost=lambda: None)
    assert (await client.attach()).pid == watchdog.pid
    await client.arm(boottime() + 0.2, Epoch(1, 1))
    await client.close()
    await eventually(lambda: (durable.read_state(state / "watchdog.json") or {}).get("fired") == 1, within=20)
    assert watchdog.poll() is None
    shutil.rmtree(directory)
    await eventually(lambda: watchdog.poll() == 0, within=20)

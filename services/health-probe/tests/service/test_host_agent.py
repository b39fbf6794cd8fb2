"""An agent on a host without a database: what is measured there raises failures, on real disks and processes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import pytest_asyncio
from yaoki.commands.probe import CheckReply, CheckTarget, TargetHealth, TargetVerdict
from yaoki.errors import TransientError
from yaoki.events.probe import ErrorClass, FailureCleared, FailureDetected, FailureType, ProbeStatus
from yaoki.testing import eventually
from yaoki_devstack.diskspace import SmallDisk, small_disk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import ProbedSystem

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

AGENT, VANTAGE = "web-1", "agent-web-1"
WINDOW = {"window": "2s", "interval": "200ms", "agent": AGENT}
"""Five minutes, scaled down; the mean over it is still what counts."""

DISK = {"kind": "disk", "limit": 95, **WINDOW}
NEVER = {"kind": "memory", "limit": 100, **WINDOW}


def configure(system: ProbedSystem, targets: dict[str, Any], **sections: Any) -> None:
    """Targets with the one agent that probes them."""
    system.configure(targets, agents={AGENT: {"guards": "host"}}, **sections)


def start_agent(system: ProbedSystem) -> None:
    argv = [sys.executable, "-m", "health_probe", "--config", "yaoki.yaml", "--role", "agent", "--agent", AGENT]
    system.processes.start(AGENT, argv)


async def view(system: ProbedSystem, target: str) -> TargetHealth:
    """What the agent has published about a target."""
    entry = await system.messaging.kv("health").get(f"{target}.{VANTAGE}")
    assert entry is not None, system.processes.tail(AGENT)
    assert entry.value is not None
    return msgspec.json.decode(entry.value, type=TargetHealth)


async def wait_view(system: ProbedSystem, target: str, state: str) -> TargetHealth:
    """What the agent has published about a target, as soon as it says `state`."""

    async def reached() -> TargetHealth:
        assert system.processes.running(AGENT), system.processes.tail(AGENT)
        found = await view(system, target)
        assert found.state == state, f"{found.state}: {found.last}"
        return found

    found = await eventually(reached, within=60.0)
    assert found is not None
    return found


async def failure_and_clearing(system: ProbedSystem, target: str) -> tuple[FailureDetected, FailureCleared]:
    """The only failure that was ever told of a target, with its clearing; waits for it."""

    async def both() -> tuple[FailureDetected, FailureCleared]:
        detected, cleared = [
            event for event in await system.verdicts(target) if isinstance(event, FailureDetected | FailureCleared)
        ]
        assert isinstance(detected, FailureDetected)
        assert isinstance(cleared, FailureCleared)
        return detected, cleared

    async def told() -> tuple[FailureDetected, FailureCleared]:
        try:
            return await both()
        except ValueError as exc:
            raise AssertionError(await system.told(target)) from exc

    found = await eventually(told, within=60.0)
    assert found is not None
    return found


@pytest_asyncio.fixture
async def disk() -> AsyncIterator[SmallDisk]:
    """A real disk of 16 MiB."""
    async with small_disk(16 << 20) as made:
        yield made


async def test_a_disk_that_fills_up_raises_disk_full_until_there_is_room(system: ProbedSystem, disk: SmallDisk) -> None:
    """By the mean over the window; told once, from the one vantage that can see it."""
    configure(system, {"web-disk": {**DISK, "path": str(disk.path)}})
    start_agent(system)
    await wait_view(system, "web-disk", "healthy")

    disk.fill()
    failed = await wait_view(system, "web-disk", "failed")
    disk.empty()
    await wait_view(system, "web-disk", "healthy")

    assert failed.vantage == VANTAGE
    assert failed.last.error_class is ErrorClass.CAPACITY
    assert "used on average over 2s, at most 95 % allowed" in failed.last.detail
    detected, cleared = await failure_and_clearing(system, "web-disk")
    assert (detected.failure_type, detected.vantage) == (FailureType.DISK_FULL, VANTAGE)
    assert detected.incident_id == cleared.incident_id == failed.incident_id
    assert float(str(detected.evidence[-1].facts["mean_percent"])) > 95


async def test_memory_in_use_above_the_limit_raises_high_memory_usage(system: ProbedSystem) -> None:
    """Every machine uses more than a thousandth of its memory: the limit is scaled, what is measured is real."""
    configure(system, {"web-memory": {**NEVER, "limit": 0.1}})
    start_agent(system)

    failed = await wait_view(system, "web-memory", "failed")

    assert failed.failure_type is FailureType.HIGH_MEMORY_USAGE
    assert failed.last.facts["available_bytes"]
    assert "memory" in failed.last.detail
    assert float(str(failed.last.facts["covered_s"])) >= 0.8 * 2


async def test_a_process_that_is_killed_raises_a_failure_until_it_is_back(system: ProbedSystem) -> None:
    pidfile = system.processes.directory / "worker.pid"
    pidfile.write_text(str(system.processes.start("worker", ["/bin/sleep", "600"])), encoding="ascii")
    process = {"kind": "process", "pidfile": str(pidfile), "agent": AGENT, "failure": "error_rate"}
    configure(system, {"web-worker": process})
    start_agent(system)
    await wait_view(system, "web-worker", "healthy")

    await system.processes.kill("worker")
    failed = await wait_view(system, "web-worker", "failed")
    pidfile.write_text(str(system.processes.start("worker", ["/bin/sleep", "600"])), encoding="ascii")
    await wait_view(system, "web-worker", "healthy")

    assert failed.last.detail == "0 processes run, at least 1 expected"
    detected, _ = await failure_and_clearing(system, "web-worker")
    assert (detected.failure_type, detected.failures) == (FailureType.ERROR_RATE, 3)


async def test_a_failure_outlives_the_agent_that_found_it(system: ProbedSystem, disk: SmallDisk) -> None:
    """Killed in the middle of it, the next life of the agent tells neither a second failure nor an early clearing."""
    configure(system, {"web-disk": {**DISK, "path": str(disk.path)}})
    start_agent(system)
    await wait_view(system, "web-disk", "healthy")
    disk.fill()
    await wait_view(system, "web-disk", "failed")

    await system.processes.kill(AGENT)
    before = await view(system, "web-disk")
    start_agent(system)

    async def looked_again() -> bool:
        return (await wait_view(system, "web-disk", "failed")).last.at > before.last.at

    await eventually(looked_again, within=60.0)
    disk.empty()
    detected, _ = await failure_and_clearing(system, "web-disk")
    assert detected.incident_id == before.incident_id


async def test_a_prober_leaves_the_agents_targets_alone_and_asks_it(system: ProbedSystem, disk: SmallDisk) -> None:
    """A fresh probe is one on the agent's host; without the agent nobody can say, and unknown is not healthy."""
    configure(system, {"web-disk": {**DISK, "path": str(disk.path)}, "own": {"kind": "memory", "limit": 100}})
    start_agent(system)
    await wait_view(system, "web-disk", "healthy")
    await system.start(("own", "healthy"))

    async def answered_by_the_agent() -> CheckReply:
        reply = await checked(system, "web-disk")
        assert reply.vantage == VANTAGE
        assert reply.result.status is ProbeStatus.HEALTHY, reply
        return reply

    await eventually(answered_by_the_agent, within=60.0)
    assert [key for key in await keys(system) if key.startswith("web-disk.")] == [f"web-disk.{VANTAGE}"]

    await system.processes.kill(AGENT)
    alone = await eventually(lambda: answered_by_nobody(system), within=60.0)
    assert alone is not None
    assert "probed by agent web-1 alone" in alone.result.detail
    await eventually(lambda: verdict_is(system, "web-disk", "unknown"), within=60.0)
    start_agent(system)
    await eventually(lambda: verdict_is(system, "web-disk", "healthy"), within=60.0)


async def verdict_is(system: ProbedSystem, target: str, state: str) -> bool:
    entry = await system.messaging.kv("health").get(target)
    assert entry is not None
    assert entry.value is not None
    return msgspec.json.decode(entry.value, type=TargetVerdict).state == state


async def checked(system: ProbedSystem, target: str) -> CheckReply:
    try:
        reply: CheckReply = await system.messaging.request(CheckTarget(target=target))
    except TransientError as exc:
        raise AssertionError(exc.message) from exc  # the prober does not know yet
    return reply


async def answered_by_nobody(system: ProbedSystem) -> CheckReply:
    reply = await checked(system, "web-disk")
    assert reply.result.status is ProbeStatus.UNKNOWN, reply
    return reply


async def keys(system: ProbedSystem) -> list[str]:
    return [entry.key for entry in await system.messaging.kv("health").entries()]


async def test_an_agent_needs_the_secrets_of_its_own_targets_only(system: ProbedSystem, disk: SmallDisk) -> None:
    """No host has to hold those of all others."""
    other = {"kind": "redis", "host": "127.0.0.1", "password": "env:YAOKI_ON_ANOTHER_HOST"}
    configure(system, {"web-disk": {**DISK, "path": str(disk.path)}, "cache": other})
    start_agent(system)

    await wait_view(system, "web-disk", "healthy")


async def test_there_is_one_agent_of_a_name_on_a_host(system: ProbedSystem) -> None:
    """A second one would tell each failure twice."""
    configure(system, {"web-memory": NEVER})
    start_agent(system)
    await wait_view(system, "web-memory", "healthy")

    argv = [sys.executable, "-m", "health_probe", "--config", "yaoki.yaml", "--role", "agent", "--agent", AGENT]
    system.processes.start("second", argv)

    await eventually(lambda: not system.processes.running("second"), within=60.0)
    assert system.processes.exit_status("second") == 70
    assert "agent 'web-1' runs already on this host" in system.processes.tail("second")
    assert await system.processes.stop(AGENT, within=60.0) == 0, system.processes.tail(AGENT)

"""Wires one host agent; the only place of the agent that opens anything."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from contextlib import AsyncExitStack
from hashlib import blake2s
from pathlib import Path
from typing import TYPE_CHECKING

from yaoki.config.clusters import HostAgent, PostgresAgent, RedisAgent
from yaoki.errors import FatalError, RejectedError
from yaoki.tasks import end_tasks
from yaoki.telemetry import setup_telemetry

from health_probe.agent.host_process import HostAgentProcess
from health_probe.agent.postgres_agent import PostgresAgentProcess
from health_probe.agent.redis_process import RedisAgentProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.config import Config

SERVICE = "health-probe"
_CLOSE_S = 8.0


async def run_agent(config: Config, agent_name: str) -> None:
    """Work on one host until cancelled; then stop the server that is guarded there, if any, and close.

    Args:
        config: Loaded with the secrets of `nats`, `postgres_clusters`, `redis_groups` and `targets`.
        agent_name: Name in `agents`.

    Raises:
        RejectedError: There is no such agent in the configuration.
        FatalError: Another process is this agent already.
    """
    settings = config.agents.get(agent_name)
    if settings is None:
        known = ", ".join(sorted(config.agents)) or "none"
        raise RejectedError(f"agent {agent_name!r} is not configured; `agents` has: {known}")
    async with AsyncExitStack() as stack:
        telemetry = setup_telemetry(SERVICE, f"agent-{agent_name}", config.telemetry, secrets=config.secrets())
        stack.callback(telemetry.shutdown)
        stack.callback(_hold(config, agent_name, settings))
        probing = asyncio.create_task(_probe_host(config, agent_name), name="host probes")
        try:
            await _process(config, agent_name, settings).run()
        finally:
            probing.cancel()
            await asyncio.wait({probing}, timeout=_CLOSE_S)
            await end_tasks([probing])


async def _probe_host(config: Config, name: str) -> None:
    if any(target.agent == name for target in config.targets.values()):
        from health_probe.agent.host_probes import probe_host  # noqa: PLC0415 - most agents do not load the probes

        await probe_host(config, name)


def _process(
    config: Config, name: str, settings: PostgresAgent | RedisAgent | HostAgent
) -> PostgresAgentProcess | RedisAgentProcess | HostAgentProcess:
    match settings:
        case PostgresAgent():
            return PostgresAgentProcess(config, name, settings)
        case RedisAgent():
            return RedisAgentProcess(config, name, settings)
        case HostAgent():
            return HostAgentProcess(config, name, settings)


def _hold(config: Config, name: str, settings: PostgresAgent | RedisAgent | HostAgent) -> Callable[[], None]:
    """Make sure to be the only one of this name on this host; return how to let go."""
    if isinstance(settings, HostAgent):
        return _only_of_name(config, name).close
    descriptor = _only_one(Path(settings.state_directory), name)
    return lambda: os.close(descriptor)


def _only_of_name(config: Config, agent_name: str) -> socket.socket:
    """Hold the name: two of them would tell each failure twice. It needs no directory: it is a name in the kernel."""
    system = blake2s("\n".join((config.nats.prefix, *config.nats.servers)).encode(), digest_size=8).hexdigest()
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        held.bind(f"\0yaoki-{system}-agent-{agent_name}")
    except OSError:
        held.close()
        raise FatalError(f"agent {agent_name!r} runs already on this host") from None
    return held


def _only_one(state_directory: Path, agent_name: str) -> int:
    """Hold the state directory: two agents on one server would each believe that they alone start it."""
    state_directory.mkdir(parents=True, exist_ok=True)
    # The server's user reads its password file in it, and nothing else there is open to others.
    state_directory.chmod(0o711)
    descriptor = os.open(state_directory / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FatalError(
            f"agent {agent_name!r} runs already: {state_directory}/agent.lock is held by another process"
        ) from None
    return descriptor

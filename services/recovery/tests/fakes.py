"""The world of `recovery.ports`, kept in memory."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from recovery.ports import Terminated
from yaoki.errors import TransientError
from yaoki.events.probe import ProbeResult, ProbeStatus
from yaoki.flags import Endpoint

from .builders import T0

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.commands.agent import AgentStatus
    from yaoki.config import PostgresCluster, RedisGroup


class HandClock:
    """A clock that stands still until somebody sleeps on it or `forward` is called."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        """See `Clock.now`."""
        return T0 + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.forward(seconds)
        await asyncio.sleep(0)

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


class ScriptedAgents:
    """Agents by worker name; each answers with the present value of its function, None for silence."""

    def __init__(self, **answers: Callable[[], AgentStatus | None]) -> None:
        self.answers = {f"agent-{name.replace('_', '-')}": answer for name, answer in answers.items()}

    async def status(self, agent: str) -> AgentStatus | None:
        """See `Agents.status`."""
        answer = self.answers.get(agent)
        return answer() if answer else None


class ScriptedProber:
    """Answers with the given states in turn, the last one for ever."""

    def __init__(self, *states: ProbeStatus) -> None:
        self.states = list(states)
        self.asked: list[str] = []

    async def check(self, target: str, within_s: float) -> ProbeResult:
        """See `Prober.check`."""
        self.asked.append(target)
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return ProbeResult(status=state, at=T0, response_ms=within_s, detail=f"it is {state.value}")


class ScriptedServers:
    """`DatabaseSessions` and `RedisClients` at once; `reachable` says whether anything answers."""

    def __init__(self, *, reachable: bool = True) -> None:
        self.reachable = reachable
        self.endpoints: list[Endpoint] = []

    async def terminate_stuck(
        self, cluster: PostgresCluster, endpoint: Endpoint, *, idle_s: float, waiting_s: float, running_s: float
    ) -> Terminated:
        """See `DatabaseSessions.terminate_stuck`."""
        assert cluster.members
        self._touch(endpoint)
        return Terminated(idle_in_transaction=int(idle_s), waiting=int(waiting_s), running=int(running_s))

    async def check_fallback(self, cluster: PostgresCluster) -> Endpoint:
        """See `DatabaseSessions.check_fallback`."""
        assert cluster.fallback_url
        endpoint = Endpoint(member="fallback", host="backup", port=5432)
        self._touch(endpoint)
        return endpoint

    async def kill_normal(self, group: RedisGroup, endpoint: Endpoint) -> int:
        """See `RedisClients.kill_normal`."""
        assert group.members
        self._touch(endpoint)
        return 3

    async def delete_matching(self, group: RedisGroup, endpoint: Endpoint, match: str) -> int:
        """See `RedisClients.delete_matching`."""
        assert group.members
        assert match
        self._touch(endpoint)
        return 7

    async def write_back(self, group: RedisGroup, endpoint: Endpoint) -> None:
        """See `RedisClients.write_back`."""
        assert group.members
        self._touch(endpoint)

    def _touch(self, endpoint: Endpoint) -> None:
        if not self.reachable:
            raise TransientError("nobody answers")
        self.endpoints.append(endpoint)

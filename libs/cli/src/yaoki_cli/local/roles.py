"""Waits until the agents have brought their servers up: one primary and its followers in each cluster and group."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yaoki.commands.agent import AgentStatus, AgentStatusQuery
from yaoki.errors import FatalError, TransientError
from yaoki.messaging import Messaging, NatsSettings
from yaoki_devstack.waiting import patient

if TYPE_CHECKING:
    from yaoki_devstack.stack import DevStack

_WITHIN_S = 30.0
_POLL_S = 0.1


async def wait_for_roles(stack: DevStack) -> None:
    """Return when every server accepts logins and follows or leads.

    Raises:
        FatalError: Names the servers that do not after half a minute, with what their agents say.
    """
    settings = NatsSettings(servers=tuple(stack.nats.urls), monitoring_url=stack.nats.servers[0].monitor_url)
    agents = [f"agent-{node.name}" for node in (*stack.postgres.nodes, *stack.redis_nodes)]
    waiting: dict[str, AgentStatus | None] = dict.fromkeys(agents)
    async with Messaging.connect(settings, service="yaoki-cli", instance="up") as messaging:
        try:
            async with asyncio.timeout(patient(_WITHIN_S)):
                while waiting:
                    for agent in list(waiting):
                        waiting[agent] = await _status(messaging, agent)
                        if _in_role(waiting[agent]):
                            del waiting[agent]
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            found = "; ".join(f"{agent}: {status or 'no answer'}" for agent, status in waiting.items())
            raise FatalError(f"not in its role after {patient(_WITHIN_S):g} s: {found}") from None


def _in_role(status: AgentStatus | None) -> bool:
    if status is None or not status.accepting:
        return False
    return status.role == "primary" or status.upstream_connected


async def _status(messaging: Messaging, agent: str) -> AgentStatus | None:
    try:
        status: AgentStatus = await messaging.request(AgentStatusQuery(), service=agent, timeout_s=patient(2.0))
    except TransientError:
        return None
    return status

"""What the other members' agents say before this one takes a lease that it does not remember.

NATS may have lost the lease record, or come back with an old one, and this host may have lost its state as well. What
is left is what the others know: grants, epochs, and the timeline of each data directory, which PostgreSQL itself keeps
and which grows with every promotion.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from yaoki.commands.agent import AgentStatus, AgentStatusQuery
from yaoki.errors import YaokiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.epoch import Epoch
    from yaoki.leases import Member
    from yaoki.messaging import Messaging

Answers = dict[str, AgentStatus | None]
_ANSWER_S = 2.0
_PRIMARY = "primary"


class Peers(Protocol):
    """The agents of the other members."""

    async def ask(self) -> Answers:
        """By member; None for one whose agent does not answer. Only those that may be promoted are asked."""
        ...


class NatsPeers:
    """See `Peers`.

    Args:
        messaging: To reach them.
        member: This one, which is not asked.
        members: By the configuration.
    """

    def __init__(self, messaging: Messaging, *, member: str, members: Mapping[str, Member]) -> None:
        self._messaging = messaging
        self._agents = {name: one.agent for name, one in members.items() if one.promotable and name != member}

    async def ask(self) -> Answers:
        """See `Peers.ask`."""
        answers = await asyncio.gather(*(self._ask(agent) for agent in self._agents.values()))
        return dict(zip(self._agents, answers, strict=True))

    async def _ask(self, agent: str) -> AgentStatus | None:
        try:
            reply = await self._messaging.request(AgentStatusQuery(), service=agent, timeout_s=_ANSWER_S)
        except YaokiError:
            return None
        return reply if isinstance(reply, AgentStatus) else None


def objection(answers: Answers, *, epoch: Epoch, timeline: int) -> str:
    """Why this member must not take the lease; empty when nothing speaks against it. Pure.

    Somebody who does not answer may have been the primary last.

    Args:
        answers: Of all others that may be promoted.
        epoch: Of the record that would be taken or founded.
        timeline: Of this member's directory.
    """
    for name, status in sorted(answers.items()):
        if status is None:
            return f"the agent of {name} does not answer, and it may have been the primary last; start it"
        if status.holder or (status.running and status.role == _PRIMARY):
            return f"{name} is the primary"
        if status.granted_s > 0:
            return f"{name} has granted the holder to go on without NATS for another {status.granted_s:.1f} s"
        if status.epoch > epoch:
            return f"the agent of {name} knows epoch {status.epoch}, above {epoch}"
        if status.timeline > timeline:
            return f"the directory of {name} is on timeline {status.timeline}, this one on {timeline}"
    return ""

"""Facts that host agents establish about the server they guard."""

from typing import ClassVar

from yaoki.epoch import Epoch
from yaoki.events.base import Event


class AgentEvent(Event, frozen=True, kw_only=True):
    """Something that happened to the server that an agent guards.

    Attributes:
        agent: Name of the agent.
        cluster: The cluster its server belongs to.
        member: Its server's name in that cluster.
        epoch: Highest epoch the agent has obeyed.
    """

    context: ClassVar[str] = "agent"
    entity_field: ClassVar[str] = "agent"

    agent: str
    cluster: str
    member: str
    epoch: Epoch


class ServerStarted(AgentEvent, frozen=True, kw_only=True):
    """The agent started its server.

    Attributes:
        role: `primary` or `standby`.
    """

    role: str


class ServerStopped(AgentEvent, frozen=True, kw_only=True):
    """Not one process of the data directory is left.

    Attributes:
        reason: `ordered`, `lease-lapsed`, `revoked`, `crashed` or `shutdown`.
    """

    reason: str


class FailsafeEntered(AgentEvent, frozen=True, kw_only=True):
    """NATS is away; the holder goes on because every promotable standby granted it. Published when NATS is back.

    Attributes:
        seconds: How long it went on so.
    """

    seconds: float

"""What a host agent is asked beside its orders: `api.<agent>.status`."""

from typing import ClassVar

import msgspec

from yaoki.commands.base import Request
from yaoki.epoch import Epoch


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent knows of the server it guards, measured when asked.

    Attributes:
        member: Its server's name in the cluster.
        kind: `postgres` or `redis`.
        running: A process of the data directory is alive (an orphan counts).
        accepting: The server answered a login just now.
        role: `primary`, `standby`, or `unknown` when nobody answers.
        holder: The agent believes that it holds the lease.
        epoch: Highest epoch obeyed.
        timeline: PostgreSQL timeline.
        received: End of WAL received or written, bytes.
        replayed: End of WAL replayed, bytes.
        upstream_connected: The standby's WAL receiver is streaming.
        synchronous_standbys: On a primary: names of standbys that acknowledge commits now.
        granted_s: Seconds for which a failsafe grant still forbids a promotion here.
    """

    agent: str
    cluster: str
    member: str
    kind: str
    running: bool
    accepting: bool
    role: str
    holder: bool = False
    epoch: Epoch
    timeline: int = 0
    received: int = 0
    replayed: int = 0
    upstream_connected: bool = False
    synchronous_standbys: tuple[str, ...] = ()
    granted_s: float = 0.0


class AgentStatusQuery(Request, frozen=True, kw_only=True):
    """The present state of the server that the agent guards."""

    verb: ClassVar[str] = "status"
    reply: ClassVar[type[msgspec.Struct]] = AgentStatus

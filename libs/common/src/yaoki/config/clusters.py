"""What is guarded: PostgreSQL clusters, Redis groups and the agents on their hosts."""

from typing import Annotated

import msgspec

from yaoki.config.base import Section
from yaoki.config.forms import (
    AbsolutePath,
    Address,
    AgentName,
    ClusterName,
    GroupName,
    Host,
    Name,
    Port,
    PositiveDuration,
    PostgresUrl,
    Size,
)
from yaoki.config.repairs import Repairs
from yaoki.config.secrets import Secret


class LeaseSettings(Section, frozen=True, kw_only=True):
    """The lease that its holder must keep to run writable.

    Attributes:
        ttl: How long a renewal lasts; it is renewed every third of this.
        margin: How much earlier the holder stops; has to cover the time to stop PostgreSQL.
    """

    ttl: PositiveDuration = 3.0
    margin: PositiveDuration = 1.0


class Login(Section, frozen=True, kw_only=True):
    """A database role with its password."""

    user: Annotated[str, msgspec.Meta(min_length=1)]
    password: Secret | None = None


class PostgresMember(Section, frozen=True, kw_only=True):
    """One server of a PostgreSQL cluster.

    Attributes:
        agent: Name in `agents` of the agent that guards it.
        host: Where clients and the other members reach it.
        port: As `host`.
        promotable: It may become the primary and takes part in the failsafe.
    """

    agent: AgentName
    host: Host
    port: Port = 5432
    promotable: bool = True


class PostgresCluster(Section, frozen=True, kw_only=True):
    """A primary with its standbys.

    Attributes:
        lease: Of the primary.
        max_lag_bytes: A standby that lacks more of the primary's last known position is not promoted.
        synchronous: How many standbys have to acknowledge a commit; 0 is asynchronous.
        database: The database that is checked by a committed write.
        admin: Role for promotion, configuration and checks (superuser, or member of the roles for these).
        replication: Role by which standbys stream and `pg_rewind` reads.
        failsafe_secret: Authenticates agents to one another when NATS is away; the same on all of them.
        fallback_url: A static backup database, routed to as degraded when nothing can be promoted.
        members: By name; the first promotable one is the primary of a new cluster.
    """

    lease: LeaseSettings = LeaseSettings()
    max_lag_bytes: Size = 1_048_576
    synchronous: Annotated[int, msgspec.Meta(ge=0)] = 0
    database: Annotated[str, msgspec.Meta(min_length=1)] = "postgres"
    admin: Login
    replication: Login
    failsafe_secret: Secret | None = None
    fallback_url: PostgresUrl | None = None
    members: Annotated[dict[Name, PostgresMember], msgspec.Meta(min_length=1)]


class RedisMember(Section, frozen=True, kw_only=True):
    """One server of a Redis group.

    Attributes:
        agent: Name in `agents` of the agent that guards it.
        host: Where clients and the other members reach it.
        port: As `host`.
        promotable: It may become the master.
    """

    agent: AgentName
    host: Host
    port: Port = 6379
    promotable: bool = True


class Sentinels(Section, frozen=True, kw_only=True):
    """The Sentinels that decide who the master of a Redis group is.

    Attributes:
        addresses: `host:port` of every Sentinel; more than half of them have to answer before anything is believed.
        master: What they call the group: `sentinel monitor <master> ...`.
        user: ACL user of the Sentinels; the default user when left out.
        password: Of that user.
    """

    addresses: Annotated[tuple[Address, ...], msgspec.Meta(min_length=1)]
    master: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]+$")]
    user: str | None = None
    password: Secret | None = None


class RedisGroup(Section, frozen=True, kw_only=True):
    """A Redis master with its replicas: guarded by agents (`members`), or left to Sentinel (`sentinel`).

    Attributes:
        user: ACL user; the default user when left out.
        password: Of the user, and of the replicas to their master.
        members: By name; the first promotable one is the master of a new group.
        sentinel: Who is asked for a failover, and followed, instead of promoting anybody.
    """

    user: str | None = None
    password: Secret | None = None
    members: dict[Name, RedisMember] = msgspec.field(default_factory=dict)
    sentinel: Sentinels | None = None


class Agent(Section, frozen=True, kw_only=True, tag_field="guards"):
    """A process on one host: it probes the targets that name it (`agent`), and may guard a server.

    Attributes:
        http: Where the agent serves its health and metrics.
        repairs: What it may do on its host for recovery; nothing when left out.
    """

    http: Address | None = None
    repairs: Repairs | None = None


class HostAgent(Agent, frozen=True, kw_only=True, tag="host"):
    """Guards no server."""


class ServerAgent(Agent, frozen=True, kw_only=True, tag=None):
    """Runs beside one server, and alone starts and stops it.

    Attributes:
        member: Name of its server in the cluster or group.
        data_directory: Of the server.
        state_directory: Where the agent keeps what has to survive its restart; not inside the data directory.
        run_as: Operating system user that the server runs as; the agent's own when left out.
    """

    member: Name
    data_directory: AbsolutePath
    state_directory: AbsolutePath
    run_as: str | None = None


class PostgresAgent(ServerAgent, frozen=True, kw_only=True, tag="postgres"):
    """Guards one PostgreSQL server.

    Attributes:
        cluster: Name in `postgres_clusters`.
        binaries: Directory with `postgres`, `pg_ctl`, `pg_rewind` and `pg_basebackup`.
        failsafe: Where it answers the holder directly when NATS is away.
    """

    cluster: ClusterName
    binaries: AbsolutePath
    failsafe: Address | None = None


class RedisAgent(ServerAgent, frozen=True, kw_only=True, tag="redis"):
    """Guards one Redis server.

    Attributes:
        group: Name in `redis_groups`.
        binary: The `redis-server` to run.
    """

    group: GroupName
    binary: AbsolutePath

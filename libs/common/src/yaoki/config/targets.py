"""What is probed: one struct for each probe kind, told apart by `kind`.

These four are here because other services read which cluster or group they belong to. A further kind is
declared beside its probe and named in its service's `Extension` (yaoki.config.extensions).
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from yaoki.config.base import Section
from yaoki.config.forms import (
    AgentName,
    ClusterName,
    Duration,
    GroupName,
    Host,
    HttpUrl,
    Name,
    Port,
    PositiveDuration,
    Size,
    TargetName,
)
from yaoki.config.secrets import Secret
from yaoki.events.probe import FailureType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki.config.findings import Context, Finding


class Scope(StrEnum):
    """Internal: a failure is repaired. External: somebody else's; an outage degrades and is not repaired."""

    INTERNAL = "internal"
    EXTERNAL = "external"


class Target(Section, frozen=True, kw_only=True, tag_field="kind"):
    """What every target has. Times left out are those of `probe.defaults`.

    Attributes:
        agent: Agent that probes it, on its own host; when left out the probers do.
        scope: Who repairs it.
        depends_on: Targets whose failure explains this one's: while one of them is failed, no failure of this one is
            told.
        vantages: From where it is probed; all of `probe.vantages` when left out. What a prober measures of its own
            host or process needs one.
        quorum: How many of them have to agree on a failure; `probe.quorum` when left out.
        interval: Between two probes.
        timeout: For one probe.
        suspect_interval: Between two probes after a first failure.
        unhealthy_after: Failures in a row that make it failed.
        healthy_after: Successes in a row that make it healthy again.
    """

    failures: ClassVar[frozenset[FailureType]] = frozenset()
    """Types that a failure of this kind may have; empty when its configuration says which."""

    agent: AgentName | None = None
    scope: Scope = Scope.INTERNAL
    depends_on: tuple[TargetName, ...] = ()
    vantages: tuple[Name, ...] = ()
    quorum: Annotated[int, msgspec.Meta(ge=1)] | None = None
    interval: PositiveDuration | None = None
    timeout: PositiveDuration | None = None
    suspect_interval: PositiveDuration | None = None
    unhealthy_after: Annotated[int, msgspec.Meta(ge=1)] | None = None
    healthy_after: Annotated[int, msgspec.Meta(ge=1)] | None = None

    @property
    def kind(self) -> str:
        """The probe kind, as `kind` says in the file."""
        return str(self.__struct_config__.tag)

    def mistakes(self, path: str, context: "Context") -> "Iterator[Finding]":  # noqa: ARG002 - for kinds that have some
        """What is wrong beyond single fields; kinds that are declared beside their probe say so here.

        Args:
            path: Of this target, e.g. `targets.orders-db`.
            context: The whole configuration.
        """
        yield from ()


class PostgresRole(StrEnum):
    """Which server of a cluster is meant, and what it has to be."""

    PRIMARY = "primary"
    REPLICA = "replica"


class PostgresTarget(Target, frozen=True, kw_only=True, tag="postgres"):
    """A PostgreSQL server, reached through its cluster's published route or at `host` and `port`.

    Attributes:
        role: `primary` (login, `SELECT 1`, writable) or `replica` (in recovery, lag).
        cluster: Name in `postgres_clusters`; then `host` and `port` come from there.
        member: For a replica of a cluster: which member.
        host: Without a cluster.
        port: Without a cluster.
        user: Login role.
        password: Of `user`.
        database: To log in to.
        write_check: Also commit a row and read it back (primary).
        max_lag_bytes: A replica further behind than this has failed.
        max_lag: A replica whose last replayed commit is older than this, with more to replay, has failed.
    """

    failures = frozenset({FailureType.DATABASE_CONNECTION, FailureType.REPLICATION_LAG})

    role: PostgresRole = PostgresRole.PRIMARY
    cluster: ClusterName | None = None
    member: Name | None = None
    host: Host | None = None
    port: Port = 5432
    user: Annotated[str, msgspec.Meta(min_length=1)]
    password: Secret | None = None
    database: Annotated[str, msgspec.Meta(min_length=1)] = "postgres"
    write_check: bool = False
    max_lag_bytes: Size = 16_777_216
    max_lag: Duration | None = None


class RedisTarget(Target, frozen=True, kw_only=True, tag="redis"):
    """A Redis server: writes, reads and deletes a key of its own.

    Attributes:
        group: Name in `redis_groups`; the current master is probed.
        host: Without a group.
        port: Without a group.
        user: ACL user; the default user when left out.
        password: Of the user.
    """

    failures = frozenset({FailureType.REDIS_CONNECTION})

    group: GroupName | None = None
    host: Host | None = None
    port: Port = 6379
    user: str | None = None
    password: Secret | None = None


class HttpTarget(Target, frozen=True, kw_only=True, tag="http"):
    """An HTTP endpoint.

    Attributes:
        url: Where to send the request.
        method: `GET` or `HEAD`.
        expect_status: Statuses that are healthy; when left out, all below 500 are.
        expect_body: Text that the body has to contain.
        expect_headers: Values that headers have to have, by name.
        expect_json: Values that fields of a JSON body have to have, by dotted path.
        degraded_after: A slower answer is degraded.
        verify_tls: Whether the certificate has to be valid.
    """

    failures = frozenset(
        {
            FailureType.ERROR_RATE,
            FailureType.RESPONSE_TIME,
            FailureType.EXTERNAL_SERVICE,
            FailureType.HIGH_MEMORY_USAGE,
            FailureType.HIGH_CPU_USAGE,
        }
    )

    url: HttpUrl
    method: Annotated[str, msgspec.Meta(pattern="^(GET|HEAD)$")] = "GET"
    expect_status: tuple[Annotated[int, msgspec.Meta(ge=100, le=599)], ...] = ()
    expect_body: str | None = None
    expect_headers: dict[str, str] = msgspec.field(default_factory=dict)
    expect_json: dict[str, Any] = msgspec.field(default_factory=dict)
    degraded_after: PositiveDuration | None = None
    verify_tls: bool = True


class TcpTarget(Target, frozen=True, kw_only=True, tag="tcp"):
    """A port that has to accept connections."""

    failures = frozenset({FailureType.NETWORK_PARTITION, FailureType.EXTERNAL_SERVICE})

    host: Host
    port: Port


BUILT_IN_KINDS: tuple[type[Target], ...] = (PostgresTarget, RedisTarget, HttpTarget, TcpTarget)

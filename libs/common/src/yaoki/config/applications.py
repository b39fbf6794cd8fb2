"""What recovery may do for applications: where they run, what they cache, how they scale, and who else is told."""

from typing import Annotated, Literal

import msgspec

from yaoki.config.base import Section
from yaoki.config.forms import (
    AbsolutePath,
    AgentName,
    Duration,
    GroupName,
    Host,
    HttpUrl,
    Name,
    Port,
    PositiveDuration,
    TargetName,
)
from yaoki.config.secrets import Secret

_NotEmpty = Annotated[str, msgspec.Meta(min_length=1)]
_Count = Annotated[int, msgspec.Meta(ge=1)]

CAPACITY = {"frontend": (2, 10), "backend": (2, 8)}
"""Fewest and most instances of each tier."""


class BalancedServer(Section, frozen=True, kw_only=True):
    """An instance's place behind HAProxy: drained before it is restarted, ready again after.

    Attributes:
        agent: Name in `agents` of the agent on the balancer's host.
        backend: As HAProxy calls it.
        server: As HAProxy calls it.
        drain: How long its connections may take to end before the restart.
    """

    agent: AgentName
    backend: _NotEmpty
    server: _NotEmpty
    drain: Duration = 10.0


class Instance(Section, frozen=True, kw_only=True):
    """One thing that is restarted. Exactly one of `unit`, `process`, `container`, `command`, `deployment`.

    Attributes:
        agent: Name in `agents` of the agent on its host; for all but deployments.
        unit: A systemd unit in `agents.<agent>.repairs.units`.
        process: Name in `agents.<agent>.repairs.processes`.
        container: A container in `agents.<agent>.repairs.docker.containers`.
        command: Name in `agents.<agent>.repairs.commands`.
        kubernetes: Name in `recovery.kubernetes`; for a deployment.
        deployment: `<namespace>/<name>`, allowed in `recovery.kubernetes.<kubernetes>.deployments`.
        behind: Where HAProxy sends to it.
    """

    agent: AgentName | None = None
    unit: str | None = None
    process: Name | None = None
    container: str | None = None
    command: Name | None = None
    kubernetes: Name | None = None
    deployment: str | None = None
    behind: BalancedServer | None = None


class CachedKeys(Section, frozen=True, kw_only=True):
    """The keys that are this application's cache, and may be deleted.

    Attributes:
        group: Name in `redis_groups`.
        match: Redis pattern of the keys, e.g. `orders:*`.
    """

    group: GroupName
    match: _NotEmpty


class Pooler(Section, frozen=True, kw_only=True):
    """A PgBouncer in front of the application's database.

    Attributes:
        host: Of its administration console.
        port: As `host`.
        user: In PgBouncer's `admin_users`.
        password: Of `user`.
        databases: Which to reconnect, as PgBouncer calls them; all when left out.
    """

    host: Host
    port: Port = 6432
    user: _NotEmpty = "pgbouncer"
    password: Secret | None = None
    databases: tuple[_NotEmpty, ...] = ()


class LoadQueries(Section, frozen=True, kw_only=True):
    """Where the load of an application is read, and how long it has to last before the number is changed for it.

    Attributes:
        prometheus: A Prometheus server.
        cpu: Query for the mean use over the instances, percent of one processor each.
        requests: Query for the requests a minute of all instances together.
        every: Between two looks.
        high_for: More are needed for so long: `scale-out` runs by itself.
        low_for: Fewer would do for so long: `scale-in` takes one away.
    """

    prometheus: HttpUrl
    cpu: _NotEmpty
    requests: _NotEmpty
    every: PositiveDuration = 15.0
    high_for: Duration = 60.0
    low_for: Duration = 600.0


class Scaling(Section, frozen=True, kw_only=True):
    """How many instances a deployment has.

    Attributes:
        kubernetes: Name in `recovery.kubernetes`.
        deployment: `<namespace>/<name>`.
        tier: `frontend` keeps 2 to 10 instances, `backend` 2 to 8, unless `fewest` and `most` say otherwise.
        fewest: Instances that there always are.
        most: Instances that there are at most.
        cpu_target: Mean use of a processor, percent, that the number of instances aims at.
        requests_per_instance: Requests a minute that one instance should have at most.
        cooldown: After a change the number is left alone.
        load: Follow the load; without it there is only the action `scale-out` of a chain.
    """

    kubernetes: Name
    deployment: _NotEmpty
    tier: Literal["frontend", "backend"] = "backend"
    fewest: _Count | None = None
    most: _Count | None = None
    cpu_target: Annotated[float, msgspec.Meta(gt=0, le=100)] = 70.0
    requests_per_instance: Annotated[float, msgspec.Meta(gt=0)] = 1000.0
    cooldown: Duration = 300.0
    load: LoadQueries | None = None

    @property
    def limits(self) -> tuple[int, int]:
        """Fewest and most instances."""
        fewest, most = CAPACITY[self.tier]
        return self.fewest or fewest, self.most or most


class Application(Section, frozen=True, kw_only=True):
    """An application that is repaired. Its name is the one that it gives to the SDK.

    Attributes:
        targets: Targets whose failures are its own.
        instances: What `restart-application` restarts, one after the other.
        workers: What `restart-workers` restarts; the instances when left out.
        cache: What `flush-cache` deletes.
        pooler: What `reset-connection-pools` tells to reconnect.
        scaling: What `scale-out` changes.
        webhook: Name in `recovery.webhooks` that `call-webhook` calls.
    """

    targets: tuple[TargetName, ...] = ()
    instances: tuple[Instance, ...] = ()
    workers: tuple[Instance, ...] = ()
    cache: CachedKeys | None = None
    pooler: Pooler | None = None
    scaling: Scaling | None = None
    webhook: Name | None = None


class KubernetesSettings(Section, frozen=True, kw_only=True):
    """A Kubernetes API server.

    Attributes:
        url: Of the API server.
        token: Of a service account that may get and patch the deployments and their scale.
        ca: Its certificate authority (PEM); the system's when left out.
        deployments: `<namespace>/<name>` of what may be restarted and scaled.
    """

    url: HttpUrl
    token: Secret | None = None
    ca: AbsolutePath | None = None
    deployments: Annotated[tuple[_NotEmpty, ...], msgspec.Meta(min_length=1)]


class Webhook(Section, frozen=True, kw_only=True):
    """An HTTP endpoint that repairs something when it is called. Redirects are not followed.

    Attributes:
        url: Gets a POST with JSON.
        secret: Signs the body: `Yaoki-Signature: t=<unix seconds>,v1=<HMAC-SHA256 of "<t>.<body>", hexadecimal>`.
        timeout: For the whole call.
        effect: `idempotent` when it heeds `Idempotency-Key`; `once`: a run asks a person when the outcome is unknown.
    """

    url: HttpUrl
    secret: Secret
    timeout: PositiveDuration = 10.0
    effect: Literal["idempotent", "once"] = "once"


class GuardSettings(Section, frozen=True, kw_only=True):
    """When automation keeps its hands off although a chain exists. People are told each time.

    Attributes:
        runs_per_hour: Automatic runs for each target.
        pause: Before the second automatic run of a target within an hour; doubled for each further one.
        longest_pause: What the pause grows to.
        brake_targets: So many targets that have failed at once stop all automatic runs.
        brake_percent: So large a share of all targets does, too, where there are at least ten.
        brake_for: How long the brake holds after the number has fallen again.
        soak: After a success an incident stays open so long; a relapse goes on with the next action.
    """

    runs_per_hour: _Count = 4
    pause: Duration = 30.0
    longest_pause: Duration = 900.0
    brake_targets: _Count = 10
    brake_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 50.0
    brake_for: Duration = 60.0
    soak: Duration = 180.0

"""The whole of `yaoki.yaml`. Durations are seconds and sizes bytes once loaded."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from yaoki.config.applications import Application, GuardSettings, KubernetesSettings, Webhook
from yaoki.config.backup import BackupSection
from yaoki.config.base import Section
from yaoki.config.chains import DEFAULT_CHAINS, Chain, ChainLink
from yaoki.config.clusters import HostAgent, PostgresAgent, PostgresCluster, RedisAgent, RedisGroup
from yaoki.config.forms import (
    AbsolutePath,
    Address,
    Duration,
    HttpUrl,
    Name,
    NatsUrl,
    PositiveDuration,
    TimeZone,
)
from yaoki.config.probing import FlappingSettings, SelfCheckSettings
from yaoki.config.secrets import Secret
from yaoki.config.slo import MaintenanceSection, SloSection
from yaoki.config.targets import Target
from yaoki.events.probe import FailureType


class TlsSettings(Section, frozen=True, kw_only=True):
    """TLS towards NATS.

    Attributes:
        ca: Certificates to trust (PEM); the system's when left out.
        certificate: Own certificate, for mutual TLS.
        key: Key of `certificate`.
        hostname: Name in the server's certificate, where it differs from the URL's.
        handshake_first: Has to match the server's setting of this name.
    """

    ca: AbsolutePath | None = None
    certificate: AbsolutePath | None = None
    key: AbsolutePath | None = None
    hostname: str | None = None
    handshake_first: bool = False


class NatsSection(Section, frozen=True, kw_only=True):
    """The message system.

    Attributes:
        servers: Any number of servers of one cluster.
        prefix: First token of every subject; several systems may share one NATS under different prefixes.
        replicas: Of streams and buckets.
        user: With `password`.
        password: Of `user`.
        nkey: Seed of an NKEY, instead of user and password.
        credentials: A `.creds` file, instead of user and password.
        tls: Used when present; an empty mapping trusts the system's certificates.
        inbox_prefix: For an identity that may subscribe to inboxes of its own only.
        monitoring_url: `http://host:8222` of a server; shows whether it syncs every write.
        require_sync: Refuse a JetStream that acknowledges before it has written to disk
            (`sync_interval: always` is missing).
    """

    servers: Annotated[tuple[NatsUrl, ...], msgspec.Meta(min_length=1)] = ("nats://127.0.0.1:4222",)
    prefix: Name = "yaoki"
    replicas: Literal[1, 3] = 1
    user: str | None = None
    password: Secret | None = None
    nkey: Secret | None = None
    credentials: AbsolutePath | None = None
    tls: TlsSettings | None = None
    inbox_prefix: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+$")] = "_INBOX"
    monitoring_url: HttpUrl | None = None
    require_sync: bool = True


class TelemetrySettings(Section, frozen=True, kw_only=True):
    """Logs and traces.

    Attributes:
        log: `json`, `pretty`, or `auto`: pretty on a terminal, JSON elsewhere.
        level: The least severe level that is written.
        otlp_endpoint: Base URL of an OpenTelemetry collector (OTLP over HTTP); without one nothing is sent.
    """

    log: Literal["auto", "json", "pretty"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"
    otlp_endpoint: HttpUrl | None = None


class ProbeTiming(Section, frozen=True, kw_only=True):
    """When a target is probed and when it counts as failed.

    Attributes:
        interval: Between two probes.
        timeout: For one probe.
        suspect_interval: Between two probes after a first failure.
        unhealthy_after: Failures in a row that make a target failed.
        healthy_after: Successes in a row that make it healthy again.
        jitter: Share of the interval by which each is at most shorter, so that probes do not march in step.
    """

    interval: PositiveDuration = 30.0
    timeout: PositiveDuration = 5.0
    suspect_interval: PositiveDuration = 5.0
    unhealthy_after: Annotated[int, msgspec.Meta(ge=1)] = 3
    healthy_after: Annotated[int, msgspec.Meta(ge=1)] = 2
    jitter: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.1


class ProbeSection(Section, frozen=True, kw_only=True):
    """The health probe.

    Attributes:
        http: Where `/health`, `/health/detailed` and `/metrics` are served.
        defaults: For targets that say nothing else.
        allowed_commands: Programs that targets of kind `exec` may run, by absolute path.
        vantages: Places from which targets are probed, such as regions, each with one prober or more; when left out
            there is one, named as `region`.
        quorum: How many vantages have to agree that a target has failed; more than half when left out.
        lease: How long a silent prober keeps its targets before the others of its vantage take them over.
        disagreement_after: How long vantages may differ about a target before that is told.
        flapping: When a target that goes up and down is only watched.
        self_check: When a prober does not trust itself.
    """

    http: Address | None = None
    vantages: tuple[Name, ...] = ()
    quorum: Annotated[int, msgspec.Meta(ge=1)] | None = None
    lease: PositiveDuration = 5.0
    disagreement_after: Duration = 60.0
    flapping: FlappingSettings = FlappingSettings()
    self_check: SelfCheckSettings = SelfCheckSettings()
    defaults: ProbeTiming = ProbeTiming()
    allowed_commands: tuple[AbsolutePath, ...] = ()


class RecoverySection(Section, frozen=True, kw_only=True):
    """The recovery service.

    Attributes:
        http: Where `/live`, `/ready` and `/metrics` are served.
        transition_delay: Pause after an action that did not help, before the next.
        chains: By failure type; replaces the default chain of that type. A type without a chain is escalated.
        applications: What may be done for each application, by its name.
        kubernetes: API servers, by name.
        webhooks: Endpoints that may be called, by name.
        guards: When automation keeps its hands off.
    """

    http: Address | None = None
    transition_delay: Duration = 30.0
    chains: dict[FailureType, Chain] = msgspec.field(default_factory=dict)
    applications: dict[Name, Application] = msgspec.field(default_factory=dict)
    kubernetes: dict[Name, KubernetesSettings] = msgspec.field(default_factory=dict)
    webhooks: dict[Name, Webhook] = msgspec.field(default_factory=dict)
    guards: GuardSettings = GuardSettings()

    def chain(self, failure: FailureType) -> tuple[ChainLink, ...]:
        """The actions for a failure type, in order; empty when it has to be escalated at once."""
        return self.chains.get(failure, DEFAULT_CHAINS.get(failure, ()))


class Config(Section, frozen=True, kw_only=True):
    """One `yaoki.yaml`.

    Attributes:
        region: Region that this installation speaks for, in events and verdicts.
        time_zone: Of schedules and reports that name none of their own.
        nats: The message system.
        telemetry: Logs and traces.
        probe: The health probe.
        targets: What is probed, by name.
        postgres_clusters: PostgreSQL clusters that are guarded, by name.
        redis_groups: Redis groups that are guarded, by name.
        agents: The agents on hosts, by name.
        recovery: The recovery service.
        slo: Service levels that are promised, their ledger and reports.
        backup: The backup service: what is backed up, where to, when.
        maintenance: Rules of planned maintenance.
    """

    region: Name = "local"
    time_zone: TimeZone = "UTC"
    nats: NatsSection = NatsSection()
    telemetry: TelemetrySettings = TelemetrySettings()
    probe: ProbeSection = ProbeSection()
    targets: dict[Name, Target] = msgspec.field(default_factory=dict)
    postgres_clusters: dict[Name, PostgresCluster] = msgspec.field(default_factory=dict)
    redis_groups: dict[Name, RedisGroup] = msgspec.field(default_factory=dict)
    agents: dict[Name, PostgresAgent | RedisAgent | HostAgent] = msgspec.field(default_factory=dict)
    recovery: RecoverySection = RecoverySection()
    slo: SloSection = SloSection()
    backup: BackupSection = BackupSection()
    maintenance: MaintenanceSection = MaintenanceSection()

    def timing(self, target: str) -> ProbeTiming:
        """When `target` is probed: its own times, else the defaults."""
        own = self.targets[target]
        chosen = {
            name: value for name in ProbeTiming.__struct_fields__ if (value := getattr(own, name, None)) is not None
        }
        return msgspec.structs.replace(self.probe.defaults, **chosen)

    def vantages(self) -> tuple[str, ...]:
        """Every place from which probers look; agents look from places of their own."""
        return self.probe.vantages or (self.region,)

    def vantages_of(self, target: str) -> tuple[str, ...]:
        """From where `target` is probed."""
        settings = self.targets[target]
        if settings.agent is not None:
            return (f"agent-{settings.agent}",)
        return settings.vantages or self.vantages()

    def quorum_of(self, target: str) -> int:
        """How many vantages have to agree that `target` has failed."""
        watched = len(self.vantages_of(target))
        own = self.targets[target].quorum
        return own or min(self.probe.quorum or watched // 2 + 1, watched)

    def secrets(self) -> Iterator[Secret]:
        """Every secret of the configuration, for the log's redaction."""
        yield from _secrets_in(self)


def _secrets_in(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _secrets_in(item)

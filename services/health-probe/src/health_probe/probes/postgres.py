"""The kind `postgres`: the primary of a cluster, one of its replicas, or a server of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config import PostgresRole, PostgresTarget
from yaoki.events.probe import FailureType
from yaoki.flags import Endpoint

from health_probe.adapters.postgres import Login
from health_probe.kinds import ProbeKind
from health_probe.probes.postgres_primary import PostgresPrimaryCheck
from health_probe.probes.postgres_replica import PostgresReplicaCheck
from health_probe.routes import FixedEndpoint, RoutedEndpoints
from health_probe.targets import Component

if TYPE_CHECKING:
    from health_probe.kinds import Surroundings
    from health_probe.ports import Check, EndpointSource


def _build(name: str, target: PostgresTarget, surroundings: Surroundings) -> Check:
    login = Login(
        user=target.user,
        password=target.password.reveal() if target.password else "",
        database=target.database,
    )
    endpoints = _endpoints(name, target, surroundings)
    if target.role is PostgresRole.PRIMARY:
        return PostgresPrimaryCheck(
            network=surroundings.network,
            login=login,
            endpoints=endpoints,
            write_key=f"{name}.{surroundings.prober or surroundings.vantage}" if target.write_check else None,
        )
    return PostgresReplicaCheck(
        network=surroundings.network,
        login=login,
        endpoint=_replica(target, endpoints, surroundings),
        endpoints=endpoints,
        max_lag_bytes=target.max_lag_bytes,
        max_lag_s=target.max_lag,
    )


def _endpoints(name: str, target: PostgresTarget, surroundings: Surroundings) -> EndpointSource:
    if target.cluster is None:
        return FixedEndpoint(Endpoint(member=name, host=target.host or "", port=target.port))
    members = surroundings.config.postgres_clusters[target.cluster].members
    return RoutedEndpoints(
        surroundings.routes,
        target.cluster,
        tuple(Endpoint(member=key, host=member.host, port=member.port) for key, member in members.items()),
    )


def _replica(target: PostgresTarget, endpoints: EndpointSource, surroundings: Surroundings) -> Endpoint:
    if target.cluster is None or target.member is None:
        return endpoints.primary_candidates()[0]
    member = surroundings.config.postgres_clusters[target.cluster].members[target.member]
    return Endpoint(member=target.member, host=member.host, port=member.port)


def _is_primary(target: PostgresTarget) -> bool:
    return target.role is PostgresRole.PRIMARY


def _failure_type(target: PostgresTarget) -> FailureType:
    return FailureType.DATABASE_CONNECTION if _is_primary(target) else FailureType.REPLICATION_LAG


KIND = ProbeKind(
    target=PostgresTarget,
    component=Component.DATABASE,
    build=_build,
    failure_type=_failure_type,
    vital=_is_primary,
)

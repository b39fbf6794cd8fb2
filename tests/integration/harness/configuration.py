"""The `yaoki.yaml` of a system under test. Secrets stand in the environment of its processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from yaoki_devstack.nats import NatsServer
    from yaoki_devstack.postgres import PostgresServer
    from yaoki_devstack.redis import RedisServer

Document = dict[str, Any]

CLUSTER = "orders"
GROUP = "cache"
DATABASE_TARGET = "orders-db"
CACHE_TARGET = "orders-cache"

SECRETS = {
    "YAOKI_TEST_APP": "app-secret",
    "YAOKI_TEST_ADMIN": "postgres-secret",
    "YAOKI_TEST_REPLICATION": "replication-secret",
    "YAOKI_TEST_FAILSAFE": "failsafe-secret-of-the-tests",
    "YAOKI_TEST_REDIS": "redis-secret",
}


def configuration(
    *,
    directory: Path,
    nats: NatsServer,
    postgres: Sequence[PostgresServer],
    redis: Sequence[RedisServer],
    failsafe_ports: Sequence[int],
    overrides: Document,
    recovery: Document,
) -> Document:
    """Everything, with times short enough for a test; `overrides` and `recovery` replace keys of those sections."""
    targets: dict[str, Any] = {}
    if postgres:
        targets[DATABASE_TARGET] = {
            "kind": "postgres",
            "cluster": CLUSTER,
            "user": "yaoki_app",
            "password": "env:YAOKI_TEST_APP",
            "database": "app",
        }
    if redis:
        targets[CACHE_TARGET] = {"kind": "redis", "group": GROUP, "password": "env:YAOKI_TEST_REDIS"}
    return {
        "nats": {"servers": [nats.url]},
        "telemetry": {"log": "json"},
        "probe": {"defaults": {"interval": "500ms", "timeout": "1s", "suspect_interval": "150ms"}},
        "targets": targets,
        # Windows at any time and at once: what the rules refuse has tests of its own.
        "maintenance": {"notice": "0s", "monthly_limit": "24h", "earliest": "00:00", "latest": "24:00"},
        "postgres_clusters": {CLUSTER: {**_cluster(postgres), **overrides}} if postgres else {},
        "redis_groups": {GROUP: _group(redis)} if redis else {},
        "agents": {
            **{
                node.name: _postgres_agent(directory, node, port)
                for node, port in zip(postgres, failsafe_ports, strict=True)
            },
            **{node.name: _redis_agent(directory, node) for node in redis},
        },
        "recovery": {"transition_delay": "500ms", "guards": {"pause": "0s", "runs_per_hour": 1000}, **recovery},
    }


def _cluster(nodes: Sequence[PostgresServer]) -> dict[str, Any]:
    return {
        "lease": {"ttl": "3s", "margin": "1s"},
        "database": "app",
        "admin": {"user": "postgres", "password": "env:YAOKI_TEST_ADMIN"},
        "replication": {"user": "yaoki_replication", "password": "env:YAOKI_TEST_REPLICATION"},
        "failsafe_secret": "env:YAOKI_TEST_FAILSAFE",
        "members": _members(nodes),
    }


def _group(nodes: Sequence[RedisServer]) -> dict[str, Any]:
    return {"password": "env:YAOKI_TEST_REDIS", "members": _members(nodes)}


def _members(nodes: Sequence[PostgresServer] | Sequence[RedisServer]) -> dict[str, Any]:
    return {node.name: {"agent": node.name, "host": node.host, "port": node.port} for node in nodes}


def _postgres_agent(directory: Path, node: PostgresServer, failsafe_port: int) -> dict[str, Any]:
    return {
        "guards": "postgres",
        "cluster": CLUSTER,
        "member": node.name,
        "data_directory": str(node.data_dir),
        "state_directory": str(directory / f"state-{node.name}"),
        "binaries": str(node.binaries.directory),
        "run_as": node.identity.name if node.identity else None,
        "failsafe": f"127.0.0.1:{failsafe_port}",
    }


def _redis_agent(directory: Path, node: RedisServer) -> dict[str, Any]:
    return {
        "guards": "redis",
        "group": GROUP,
        "member": node.name,
        "data_directory": str(node.data_dir),
        "state_directory": str(directory / f"state-{node.name}"),
        "binary": str(node.argv[0]),
    }

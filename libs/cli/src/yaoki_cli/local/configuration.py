"""The `yaoki.yaml` of the local system, written from where its servers really are."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import yaml
from yaoki_devstack.postgres_template import PostgresCredentials

if TYPE_CHECKING:
    from pathlib import Path

    from yaoki_devstack.postgres import PostgresServer
    from yaoki_devstack.redis import RedisServer
    from yaoki_devstack.stack import DevStack

    from yaoki_cli.local.addresses import Addresses

CLUSTER = "orders"
CACHE = "cache"

# Fast enough to watch: a failure is certain after three probes, the second and third of them soon after the first.
PROBE_DEFAULTS = {"interval": "1s", "timeout": "1s", "suspect_interval": "250ms", "healthy_after": 2}


class SecretFiles:
    """Secrets as files that only their owner may read, which is how the configuration refers to them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def reference(self, name: str, value: str) -> str:
        """Write a secret and return the reference to it."""
        file = self._directory / name
        file.touch(mode=0o600, exist_ok=True)
        file.write_text(value, encoding="utf-8")
        return f"file:{file}"


def configuration(stack: DevStack, addresses: Addresses, directory: Path) -> dict[str, Any]:
    """Describe the stack to Yaoki.

    Args:
        stack: Prepared; its PostgreSQL and Redis servers are left for the agents to start.
        addresses: Of Yaoki's own processes.
        directory: Where secrets and the agents' states go.
    """
    files = SecretFiles(directory / "secrets")
    credentials = PostgresCredentials()
    references = {
        "app": files.reference("database-app", credentials.app_password),
        "admin": files.reference("database-admin", credentials.superuser_password),
        "replication": files.reference("database-replication", credentials.replication_password),
        "failsafe": files.reference("failsafe", secrets.token_hex(32)),
        "redis": files.reference("redis", stack.redis_master.password),
    }
    return {
        "region": "local",
        "nats": _nats(stack),
        "telemetry": {"log": "json"},
        "probe": {"http": addresses.probe, "defaults": PROBE_DEFAULTS},
        "targets": _targets(references, credentials, addresses.orders),
        "postgres_clusters": {CLUSTER: _cluster(stack, references, credentials)},
        "redis_groups": {CACHE: _group(stack, references)},
        "agents": _agents(stack, addresses, directory),
        "recovery": {
            "http": addresses.recovery(1),
            "transition_delay": "1s",
            # Here people break things as often as they like, and want to see them repaired each time.
            "guards": {"pause": "0s", "runs_per_hour": 1000},
        },
        "slo": {"http": addresses.slo, "services": {"orders": {"targets": ["orders-api", "orders-db"]}}},
    }


def write_configuration(stack: DevStack, addresses: Addresses, directory: Path) -> Path:
    """Write `yaoki.yaml` into `directory` and return its path."""
    whole = configuration(stack, addresses, directory)
    for number in (1, 2):
        # Two instances on one machine differ in their port; on machines of their own one file serves all.
        whole["recovery"]["http"] = addresses.recovery(number)
        file = configuration_file(directory, number)
        file.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    return configuration_file(directory)


def configuration_file(directory: Path, number: int = 1) -> Path:
    """Where the configuration is; that of the second recovery instance stands beside the others'."""
    return directory / ("yaoki.yaml" if number == 1 else f"yaoki-{number}.yaml")


def _nats(stack: DevStack) -> dict[str, Any]:
    servers = stack.nats.servers
    return {
        "servers": [server.url for server in servers],
        "replicas": len(servers),
        "monitoring_url": servers[0].monitor_url,
    }


def _targets(references: dict[str, str], credentials: PostgresCredentials, orders: str) -> dict[str, Any]:
    return {
        "orders-db": {
            "kind": "postgres",
            "role": "primary",
            "cluster": CLUSTER,
            "user": credentials.app_user,
            "password": references["app"],
            "database": credentials.database,
        },
        "orders-cache": {"kind": "redis", "group": CACHE, "password": references["redis"]},
        "orders-api": {"kind": "http", "url": f"http://{orders}/health", "scope": "internal"},
    }


def _cluster(stack: DevStack, references: dict[str, str], credentials: PostgresCredentials) -> dict[str, Any]:
    nodes = stack.postgres.nodes
    return {
        "lease": {"ttl": "3s", "margin": "1s"},
        "max_lag_bytes": "1MiB",
        "synchronous": 1 if stack.spec.postgres_synchronous else 0,
        "database": credentials.database,
        "admin": {"user": credentials.superuser, "password": references["admin"]},
        "replication": {"user": credentials.replication_user, "password": references["replication"]},
        "failsafe_secret": references["failsafe"],
        "members": {node.name: {"agent": node.name, "host": node.host, "port": node.port} for node in nodes},
    }


def _group(stack: DevStack, references: dict[str, str]) -> dict[str, Any]:
    return {
        "password": references["redis"],
        "members": {
            node.name: {"agent": node.name, "host": node.host, "port": node.port} for node in stack.redis_nodes
        },
    }


def _agents(stack: DevStack, addresses: Addresses, directory: Path) -> dict[str, Any]:
    agents: dict[str, Any] = {}
    for index, node in enumerate(stack.postgres.nodes):
        agents[node.name] = _postgres_agent(node, directory, addresses.failsafe(node.name, index))
    for server in stack.redis_nodes:
        agents[server.name] = _redis_agent(server, directory)
    return agents


def _postgres_agent(node: PostgresServer, directory: Path, failsafe: str) -> dict[str, Any]:
    return {
        "guards": "postgres",
        "cluster": CLUSTER,
        "member": node.name,
        "data_directory": str(node.data_dir),
        "state_directory": str(directory / "agents" / node.name),
        "binaries": str(node.binaries.directory),
        "failsafe": failsafe,
        "run_as": node.identity.name if node.identity else None,
    }


def _redis_agent(server: RedisServer, directory: Path) -> dict[str, Any]:
    return {
        "guards": "redis",
        "group": CACHE,
        "member": server.name,
        "data_directory": str(server.data_dir),
        "state_directory": str(directory / "agents" / server.name),
        "binary": str(server.argv[0]),
    }

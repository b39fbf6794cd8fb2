"""Values that the tests of this service start from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from yaoki.commands.agent import AgentStatus
from yaoki.config import (
    Config,
    LeaseSettings,
    Login,
    PostgresCluster,
    PostgresMember,
    PostgresRole,
    PostgresTarget,
    RecoverySection,
    RedisGroup,
    RedisMember,
    RedisTarget,
)
from yaoki.epoch import Epoch
from yaoki.events.probe import FailureDetected, FailureType
from yaoki.leases import ClusterLease, Member
from yaoki.plans import Order, Phase

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def status(member: str, **changes: Any) -> AgentStatus:
    """A healthy standby's agent answers."""
    values: dict[str, Any] = {
        "agent": f"agent-{member}",
        "cluster": "orders",
        "member": member,
        "kind": "postgres",
        "running": True,
        "accepting": True,
        "role": "standby",
        "epoch": Epoch(1, 1),
        "timeline": 1,
        "received": 1000,
        "replayed": 1000,
    }
    return AgentStatus(**{**values, **changes})


def record(**changes: Any) -> ClusterLease:
    """The lease of a cluster of two, held by pg-a."""
    values: dict[str, Any] = {
        "cluster": "orders",
        "holder": "pg-a",
        "epoch": Epoch(1, 1),
        "ttl_s": 3.0,
        "margin_s": 1.0,
        "members": {name: Member(agent=f"agent-{name}", host="127.0.0.1", port=1) for name in ("pg-a", "pg-b")},
        "position": 1000,
        "timeline": 1,
    }
    return ClusterLease(**{**values, **changes})


def failure(**changes: Any) -> FailureDetected:
    """The primary of `orders` does not answer."""
    values: dict[str, Any] = {
        "target": "orders-db",
        "target_kind": "postgres",
        "region": "local",
        "vantage": "prober-1",
        "failure_type": FailureType.DATABASE_CONNECTION,
        "incident_id": "incident-1",
        "first_failed_at": T0,
        "failures": 3,
    }
    return FailureDetected(**{**values, **changes})


def config(
    *,
    members: tuple[str, ...] = ("pg-a", "pg-b"),
    fallback_url: str | None = None,
    recovery: RecoverySection | None = None,
) -> Config:
    """One PostgreSQL cluster, one Redis group, and their targets."""
    cluster = PostgresCluster(
        lease=LeaseSettings(ttl=3.0, margin=1.0),
        admin=Login(user="admin"),
        replication=Login(user="replicator"),
        fallback_url=fallback_url,
        members={
            name: PostgresMember(agent=name, host="127.0.0.1", port=5000 + index) for index, name in enumerate(members)
        },
    )
    group = RedisGroup(
        members={
            name: RedisMember(agent=name, host="127.0.0.1", port=6000 + index)
            for index, name in enumerate(("redis-a", "redis-b"))
        }
    )
    return Config(
        postgres_clusters={"orders": cluster},
        redis_groups={"cache": group},
        targets={
            "orders-db": PostgresTarget(cluster="orders", user="app"),
            "orders-db-replica": PostgresTarget(cluster="orders", role=PostgresRole.REPLICA, member="pg-b", user="app"),
            "orders-cache": RedisTarget(group="cache"),
            "lonely-cache": RedisTarget(host="127.0.0.1"),
        },
        recovery=recovery or RecoverySection(),
    )


def order(action: str, params: dict[str, Any] | None = None, **changes: Any) -> Order:
    """An order of run `run-1` that expires in 30 s of `T0`."""
    values: dict[str, Any] = {
        "command_id": "command-1",
        "run_kind": "recovery",
        "run_id": "run-1",
        "resource": "orders",
        "step": action,
        "phase": Phase.DO,
        "action": action,
        "params": params or {},
        "epoch": Epoch(1, 10),
        "expires_at": T0 + timedelta(seconds=30),
        "incident_id": "incident-1",
    }
    return Order(**{**values, **changes})

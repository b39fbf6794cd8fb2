"""Everything at once: NATS, PostgreSQL, Redis and S3, for a test or for a person."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from yaoki_devstack.errors import DevStackError
from yaoki_devstack.lifetime import Lifetime
from yaoki_devstack.nats import NatsCluster
from yaoki_devstack.postgres_cluster import PostgresCluster
from yaoki_devstack.redis import RedisServer
from yaoki_devstack.s3 import S3Server
from yaoki_devstack.server import LocalServer, remove_temporary, temporary_directory

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path
    from typing import Any

_Part = TypeVar("_Part")

_NATS_PORT = 14_222
_MONITOR_PORT = 18_222
_POSTGRES_PORT = 15_432
_REDIS_PORT = 16_379
_S3_PORT = 18_333


@dataclass(frozen=True, kw_only=True)
class BucketSpec:
    """A bucket to create at the first start; object lock implies versioning."""

    name: str
    versioned: bool = False
    object_lock: bool = False


@dataclass(frozen=True, kw_only=True)
class StackSpec:
    """What a stack consists of.

    Attributes:
        nats: the number of nodes, 0, 1 or 3.
        postgres: whether there is a PostgreSQL cluster.
        postgres_standbys: how many standbys the primary has.
        postgres_synchronous: a commit waits for any one standby.
        postgres_fsync: as for `PostgresServer`.
        start_postgres: False leaves PostgreSQL prepared and stopped, for an agent to start.
        redis: whether there is a Redis master.
        redis_replicas: how many replicas it has.
        start_redis: False leaves Redis prepared and stopped, for an agent to start.
        s3: whether there is an S3 endpoint.
        buckets: the buckets to create there.
    """

    nats: int = 1
    postgres: bool = True
    postgres_standbys: int = 1
    postgres_synchronous: bool = True
    postgres_fsync: bool = True
    start_postgres: bool = True
    redis: bool = True
    redis_replicas: int = 1
    start_redis: bool = True
    s3: bool = True
    buckets: tuple[BucketSpec, ...] = ()


class DevStack(Lifetime):
    """The servers of a `StackSpec`, started together.

    Args:
        spec: what to start.
        directory: the parent of all directories; a temporary one when None.
        postgres_directory: the parent of the PostgreSQL nodes when it must lie elsewhere.
        preferred_ports: use the well-known ports (NATS 14222, PostgreSQL 15432, Redis 16379, S3 18333) where
            free.
        detached: the servers survive this process; see `yaoki_devstack.detached`.
    """

    def __init__(
        self,
        spec: StackSpec | None = None,
        *,
        directory: Path | None = None,
        postgres_directory: Path | None = None,
        preferred_ports: bool = False,
        detached: bool = False,
    ) -> None:
        self.spec = spec or StackSpec()
        self._temporary = directory is None
        self.directory = temporary_directory("stack") if directory is None else directory.resolve()
        self._preferred_ports = preferred_ports
        self._detached = detached
        self._nats = self._make_nats() if self.spec.nats else None
        self._postgres = self._make_postgres(postgres_directory) if self.spec.postgres else None
        self.redis_nodes = self._make_redis() if self.spec.redis else []
        self._s3 = self._make_s3() if self.spec.s3 else None

    def _preferred(self, first: int, count: int) -> range:
        return range(first, first + count) if self._preferred_ports else range(0)

    def _make_nats(self) -> NatsCluster:
        return NatsCluster(
            size=self.spec.nats,
            directory=self.directory / "nats",
            ports=self._preferred(_NATS_PORT, self.spec.nats),
            monitor_ports=self._preferred(_MONITOR_PORT, self.spec.nats),
            detached=self._detached,
        )

    def _make_postgres(self, directory: Path | None) -> PostgresCluster:
        return PostgresCluster(
            standbys=self.spec.postgres_standbys,
            synchronous=self.spec.postgres_synchronous,
            directory=directory or self.directory / "postgres",
            ports=self._preferred(_POSTGRES_PORT, self.spec.postgres_standbys + 1),
            fsync=self.spec.postgres_fsync,
            detached=self._detached,
        )

    def _make_redis(self) -> list[RedisServer]:
        wanted = self._preferred(_REDIS_PORT, self.spec.redis_replicas + 1)
        nodes: list[RedisServer] = []
        for index in range(self.spec.redis_replicas + 1):
            name = f"redis{index + 1}"
            nodes.append(
                RedisServer(
                    name=name,
                    directory=self.directory / "redis" / name,
                    port=wanted[index] if wanted else None,
                    replica_of=nodes[0] if nodes else None,
                    detached=self._detached,
                )
            )
        return nodes

    def _make_s3(self) -> S3Server:
        return S3Server(
            directory=self.directory / "s3",
            port=_S3_PORT if self._preferred_ports else None,
            detached=self._detached,
        )

    # The parts. Each raises DevStackError when the spec left it out.

    @property
    def nats(self) -> NatsCluster:
        """The NATS servers; a cluster of one when the spec says 1."""
        return _present(self._nats, "nats")

    @property
    def postgres(self) -> PostgresCluster:
        """The PostgreSQL primary and its standbys."""
        return _present(self._postgres, "postgres")

    @property
    def redis_master(self) -> RedisServer:
        """The Redis server that is prepared as master."""
        return _present(self.redis_nodes[0] if self.redis_nodes else None, "redis")

    @property
    def redis_replicas(self) -> list[RedisServer]:
        """The Redis servers that are prepared as replicas."""
        return self.redis_nodes[1:]

    @property
    def s3(self) -> S3Server:
        """The S3 endpoint."""
        return _present(self._s3, "s3")

    @property
    def servers(self) -> list[LocalServer]:
        """Every server of the stack."""
        found: list[LocalServer] = list(self._nats.servers) if self._nats else []
        found.extend(self._postgres.nodes if self._postgres else [])
        found.extend(self.redis_nodes)
        return [*found, self._s3] if self._s3 else found

    @override
    async def start(self) -> None:
        """Start everything at the same time and wait until all of it answers."""
        starts: list[Coroutine[Any, Any, None]] = []
        if self._nats:
            starts.append(self._nats.start())
        if self._postgres:
            starts.append(self._postgres.start() if self.spec.start_postgres else self._postgres.prepare())
        if self.redis_nodes:
            starts.append(self._start_redis())
        if self._s3:
            starts.append(self._start_s3(self._s3))
        async with asyncio.TaskGroup() as together:
            for start in starts:
                together.create_task(start)

    async def _start_redis(self) -> None:
        for node in self.redis_nodes:
            await (node.start() if self.spec.start_redis else node.prepare())

    async def _start_s3(self, server: S3Server) -> None:
        fresh = not server.data_dir.exists()
        await server.start()
        for bucket in self.spec.buckets if fresh else ():
            await server.create_bucket(bucket.name, versioned=bucket.versioned, object_lock=bucket.object_lock)

    @override
    async def stop(self) -> None:
        """Stop everything in an orderly way and keep the data."""
        parts = [part.stop() for part in (self._nats, self._postgres, self._s3) if part]
        await asyncio.gather(*parts, *(node.stop() for node in self.redis_nodes))

    @override
    async def kill(self) -> None:
        """SIGKILL every process of every server."""
        await asyncio.gather(*(server.kill() for server in self.servers))

    @override
    def discard(self) -> None:
        """Release the ports and remove a temporary directory. The servers must be stopped."""
        for server in self.servers:
            server.discard()
        if self._temporary:
            remove_temporary(self.directory)


def _present(part: _Part | None, name: str) -> _Part:
    if part is None:
        raise DevStackError(f"this stack has no '{name}'; its StackSpec left it out")
    return part

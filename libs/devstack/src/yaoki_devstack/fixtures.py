"""Pytest fixtures with real servers: `pytest_plugins = ["yaoki_devstack.fixtures"]` in a conftest.

Servers are plain processes that belong to no event loop, so a session's server serves tests that each have a
loop of their own. Session fixtures are shared: tests keep apart by `unique_prefix`. Function fixtures are
theirs to break.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from yaoki_devstack.containers import NATS, REDIS, S3, ContainerServer, docker_wanted
from yaoki_devstack.nats import NatsCluster, NatsServer
from yaoki_devstack.postgres_cluster import PostgresCluster
from yaoki_devstack.redis import RedisServer
from yaoki_devstack.s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from yaoki_devstack.server import Server


@pytest.fixture
def unique_prefix() -> str:
    """A subject, key or stream prefix that no other test has (letters and digits, starts with a letter)."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def shared_nats_server() -> Iterator[Server]:
    """One NATS server for all tests of the session that break nothing."""
    with asyncio.Runner() as runner:
        docker = runner.run(docker_wanted())
        yield from _session(runner, ContainerServer(NATS) if docker else NatsServer(name="shared-nats"))


@pytest.fixture(scope="session")
def shared_redis_server() -> Iterator[Server]:
    """One Redis server for all tests of the session that break nothing."""
    with asyncio.Runner() as runner:
        docker = runner.run(docker_wanted())
        yield from _session(runner, ContainerServer(REDIS) if docker else RedisServer(name="shared-redis"))


@pytest.fixture(scope="session")
def shared_s3_server() -> Iterator[Server]:
    """One S3 endpoint for all tests of the session that break nothing; each test creates its own buckets."""
    with asyncio.Runner() as runner:
        docker = runner.run(docker_wanted())
        yield from _session(runner, ContainerServer(S3) if docker else S3Server(name="shared-s3"))


def _session(runner: asyncio.Runner, server: Server) -> Iterator[Server]:
    runner.run(server.__aenter__())
    yield server
    runner.run(server.__aexit__(None, None, None))


@pytest_asyncio.fixture
async def nats_server() -> AsyncIterator[NatsServer]:
    """A NATS server of the test's own; starts in a tenth of a second."""
    async with NatsServer() as server:
        yield server


@pytest_asyncio.fixture
async def nats_cluster() -> AsyncIterator[NatsCluster]:
    """Three NATS servers with a meta leader."""
    async with NatsCluster() as cluster:
        yield cluster


@pytest_asyncio.fixture
async def postgres_server() -> AsyncIterator[PostgresCluster]:
    """A PostgreSQL primary without standbys, as a cluster of one."""
    async with PostgresCluster(standbys=0) as cluster:
        yield cluster


@pytest_asyncio.fixture
async def postgres_pair() -> AsyncIterator[PostgresCluster]:
    """A PostgreSQL primary with one asynchronous standby that streams."""
    async with PostgresCluster(standbys=1) as cluster:
        yield cluster


@pytest_asyncio.fixture
async def synchronous_postgres_pair() -> AsyncIterator[PostgresCluster]:
    """A PostgreSQL primary whose commits wait for its one standby."""
    async with PostgresCluster(standbys=1, synchronous=True) as cluster:
        yield cluster


@pytest_asyncio.fixture
async def redis_server() -> AsyncIterator[RedisServer]:
    """A Redis master of the test's own."""
    async with RedisServer() as server:
        yield server


@pytest_asyncio.fixture
async def redis_pair() -> AsyncIterator[tuple[RedisServer, RedisServer]]:
    """A Redis master and a replica that has its data."""
    async with (
        RedisServer(name="redis1") as master,
        RedisServer(name="redis2", replica_of=master) as replica,
    ):
        yield master, replica

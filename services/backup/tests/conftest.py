"""What the tests of the backup service share."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from backup.adapters.directory import DirectoryObjectStore
from backup.adapters.s3 import S3Location, S3ObjectStore
from backup.pipeline.codec import Identity
from yaoki_devstack.postgres_cluster import PostgresCluster
from yaoki_devstack.s3 import S3_ACCESS_KEY, S3_SECRET_KEY, S3Server

from .databases import SCHEMA, TestDatabase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from backup.ports import ObjectStore
    from yaoki_devstack.postgres import PostgresServer


ROOT = Path(__file__).parents[3]
BROUGHT = ROOT / ".tools" / "bin"


@pytest.fixture(scope="session")
def tool() -> dict[str, str]:
    """Paths of the `age` and `zstd` commands: the machine's, or those that `make tools` brings."""
    found = {}
    for name in ("age", "zstd"):
        if not (path := shutil.which(name, path=f"{BROUGHT}:{os.environ['PATH']}")):
            bring = [sys.executable, str(ROOT / "scripts" / "fetch_tools.py"), name]
            subprocess.run(bring, check=True)  # noqa: S603 - a script of this repository
            path = str(BROUGHT / name)
        found[name] = path
    return found


@pytest.fixture
def identity() -> Identity:
    """A private key of the test's own."""
    return Identity.generate()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests that break nothing in it, with a database to copy."""
    with asyncio.Runner() as runner:
        cluster = PostgresCluster(standbys=0)
        runner.run(cluster.__aenter__())
        prepare = "CREATE ROLE app_reader LOGIN PASSWORD 'reader-secret'; CREATE DATABASE orders_template"
        for statement in prepare.split("; "):
            runner.run(cluster.primary.psql(statement))
        runner.run(cluster.primary.psql(SCHEMA, database="orders_template"))
        yield cluster.primary
        runner.run(cluster.__aexit__(None, None, None))


@pytest_asyncio.fixture
async def database(postgres: PostgresServer, unique_prefix: str) -> TestDatabase:
    """A database of the test's own."""
    await postgres.psql(f"CREATE DATABASE {unique_prefix} TEMPLATE orders_template OWNER yaoki_app")
    await postgres.psql(f"ALTER DATABASE {unique_prefix} SET statement_timeout = '1h'")
    return TestDatabase(postgres, unique_prefix)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One store for all tests that break nothing in it; each has a bucket of its own."""
    with asyncio.Runner() as runner:
        server = S3Server(name="backup-s3")
        runner.run(server.__aenter__())
        yield server
        runner.run(server.__aexit__(None, None, None))


@pytest_asyncio.fixture
async def bucket(s3_server: S3Server, unique_prefix: str) -> str:
    """A bucket of the test's own."""
    await s3_server.create_bucket(unique_prefix)
    return unique_prefix


@pytest_asyncio.fixture
async def s3_store(s3_server: S3Server, bucket: str) -> AsyncIterator[S3ObjectStore]:
    """A store in the bucket."""
    store = S3ObjectStore(location(s3_server, bucket))
    yield store
    store.close()


@pytest.fixture
def directory_store(tmp_path: Path) -> DirectoryObjectStore:
    """A store in a directory."""
    root = tmp_path / "repository"
    root.mkdir()
    return DirectoryObjectStore(root)


@pytest.fixture(params=["s3", "directory"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """Each kind of store in turn."""
    chosen: ObjectStore = request.getfixturevalue(f"{request.param}_store")
    return chosen


def location(server: S3Server, bucket: str, *, port: int | None = None, secret_key: str = S3_SECRET_KEY) -> S3Location:
    """How the bucket is reached, perhaps through a proxy."""
    return S3Location(
        bucket=bucket,
        endpoint=f"http://{server.host}:{port or server.port}",
        access_key=S3_ACCESS_KEY,
        secret_key=secret_key,
    )

"""Everything is gone but the bucket and the key."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from backup.pipeline.codec import Identity
from backup.repository import Repository
from backup.sources.file_tree import FileTreeSource
from backup.sources.postgres_logical import PostgresLogicalSource

from .databases import TABLES
from .taken import take

if TYPE_CHECKING:
    from pathlib import Path

    from backup.adapters.s3 import S3ObjectStore
    from yaoki_devstack.s3 import S3Server

    from .databases import TestDatabase

pytestmark = pytest.mark.real


async def run(
    *arguments: str, module: str = "backup.break_glass", **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PG"))}
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, env={**clean, **environment}
    )


@pytest.fixture
def key(identity: Identity, tmp_path: Path) -> str:
    path = tmp_path / "key.txt"
    path.write_text(f"# public key: {identity.to_public()}\n{identity}\n", encoding="utf-8")
    return str(path)


async def test_a_database_comes_back_from_the_bucket_alone(
    *,
    database: TestDatabase,
    s3_store: S3ObjectStore,
    s3_server: S3Server,
    bucket: str,
    identity: Identity,
    key: str,
    tmp_path: Path,
) -> None:
    """Listed, restored into a new database, and compared; nothing that is there is touched."""
    repository = Repository("main", s3_store, "yaoki")
    manifest = await take(repository, PostgresLogicalSource(database.address()), identity)
    environment = {
        "AWS_ENDPOINT_URL": s3_server.url,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        **database.address("postgres").environment(),
    }
    place, into = f"s3://{bucket}/yaoki", f"{database.name}_rescued"

    listed = await run("list", "--from", place, **environment)
    restore = ("restore", "--from", place, "--identity", key, "--binaries", database.address().binaries)
    restored = await run(*restore, "--into-database", into, **environment)
    again = await run(*restore, "--into-database", into, **environment)
    other = tmp_path / "other.txt"
    other.write_text(str(Identity.generate()), encoding="utf-8")
    wrong = await run(*restore[:4], str(other), *restore[5:], "--into-database", f"{into}2", **environment)

    assert f"{manifest.backup_id}  orders  postgres-logical" in listed.stdout
    assert restored.returncode == 0, restored.stderr
    assert f"with {sum(TABLES.values())} rows are those that were backed up" in restored.stdout
    assert await database.server.psql("SELECT count(*) FROM orders", database=into) == "3000"
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    assert (wrong.returncode, "none of the 1 identities at hand opens" in wrong.stderr) == (1, True)
    assert str(identity) not in restored.stdout + restored.stderr + wrong.stderr


async def test_files_come_back_from_a_directory_alone(identity: Identity, key: str, tmp_path: Path) -> None:
    """The repository on a disk that was carried to another machine; by the yaoki command."""
    from backup.adapters.directory import DirectoryObjectStore  # noqa: PLC0415 - used here only

    tree, root, into = tmp_path / "tree", tmp_path / "repository" / "yaoki", tmp_path / "into"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "file").write_text("content", encoding="utf-8")
    root.mkdir(parents=True)
    repository = Repository("main", DirectoryObjectStore(root), "")
    manifest = await take(repository, FileTreeSource(str(tree)), identity, target="uploads")

    restore = ("restore", "--from", f"file://{root}", "--identity", key, "--backup", manifest.backup_id)
    restored = await run(*restore, "--into-directory", str(into), module="yaoki_cli")
    listed = await run("backups", "--from", f"file://{root}", module="yaoki_cli")
    refused = await run(*restore, "--into-directory", str(tree))
    mistaken = await run(*restore, "--into-database", "x")

    assert restored.returncode == 0, restored.stderr
    assert manifest.backup_id in listed.stdout
    assert (into / "a" / "file").read_text(encoding="utf-8") == "content"
    assert (refused.returncode, "is not empty" in refused.stderr) == (1, True)
    assert (mistaken.returncode, "Use --into-directory" in mistaken.stderr) == (1, True)


async def test_what_is_asked_wrongly_is_said(key: str, tmp_path: Path) -> None:
    elsewhere = await run("list", "--from", "http://bucket/yaoki")
    missing = await run("list", "--from", f"file://{tmp_path}/not-mounted")
    keyless = await run("restore", "--from", f"file://{tmp_path}", "--identity", f"{key}x", "--into-directory", "/x")

    assert "expected s3://bucket/prefix or file:///path" in elsewhere.stderr
    assert "is not there" in missing.stderr
    assert "cannot be read" in keyless.stderr
    assert [one.returncode for one in (elsewhere, missing, keyless)] == [1, 1, 1]

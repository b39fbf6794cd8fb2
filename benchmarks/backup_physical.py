"""`backup-physical`: a whole cluster into S3, encrypted, and back, beside pgBackRest on a directory.

Both take full backups of the same PostgreSQL 15 of Debian (pgBackRest 2.45 knows no later one) in the same run, in
turns, with zstd at level 1; pgBackRest with two processes. The median of three counts. The peer neither encrypts nor
uploads. Our restore reads every file once more to compare it; what that costs is also a figure of its own
(`restore-physical`). `--rows` sets the size: 1,000 rows are about 1 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from _figures import figure
from _servers import tool
from backup.adapters.accounts import Account, account_of
from backup.adapters.s3 import S3Location, S3ObjectStore
from backup.manifest import Manifest, new_backup_id
from backup.pipeline.codec import Identity
from backup.repository import Repository
from backup.sources.base_check import check_base
from backup.sources.cluster_restore import restore_cluster
from backup.sources.postgres_physical import PostgresPhysicalSource
from backup.sources.postgres_server import PostgresServer
from backup.stored import StoredBackup
from backup.taking import Assignment, Taking
from yaoki.clock import SystemClock
from yaoki_devstack.binaries import PostgresBinaries
from yaoki_devstack.postgres_cluster import PostgresCluster
from yaoki_devstack.s3 import S3_ACCESS_KEY, S3_SECRET_KEY, S3Server

if TYPE_CHECKING:
    from yaoki_devstack.postgres import PostgresServer as DevPostgres

BACKUP: Final = "backup-physical"
RESTORE: Final = "restore-physical"
BUCKET: Final = "physical"
PEER: Final = "pgBackRest 2.45, zst level 1, 2 processes"
TURNS: Final = 3
MOST_BACKUP: Final = 1.1
MOST_RESTORE: Final = 1.3
DEBIAN: Final = Path("/usr/lib/postgresql/15/bin")
DATA: Final = """
INSERT INTO data SELECT n, md5(n::text) || md5((n * 7)::text) AS key,
  repeat(md5((n % 1000)::text), 12)
    || (SELECT string_agg(md5((n * 31 + k)::text), '') FROM generate_series(1, 16) AS k) AS body
FROM generate_series({first}, {last}) AS n
"""
TOGETHER: Final = 25_000


class Peer:
    """pgBackRest on a repository of its own below `directory`."""

    def __init__(self, directory: Path, data: Path, server: PostgresServer) -> None:
        self._directory = directory
        self._data = data
        self._environment = {"PATH": os.environ["PATH"], **server.environment()}
        self._port = server.port

    async def prepare(self) -> None:
        """Create the repository."""
        await self._run("stanza-create", self._data)

    async def backup(self) -> float:
        """Seconds of a full backup."""
        return await self._run("backup", self._data, "--type=full", "--no-archive-check", "--start-fast")

    async def restore(self, into: Path) -> float:
        """Seconds into a new directory."""
        await asyncio.to_thread(into.mkdir, mode=0o700)
        return await self._run("restore", into)

    async def _run(self, command: str, data: Path, *more: str) -> float:
        place = {"repo1-path": "repository", "lock-path": "lock", "spool-path": "spool", "log-path": "log"}
        connection = () if command == "restore" else (f"--pg1-port={self._port}", "--pg1-user=postgres")
        retention = ("--repo1-retention-full=1",) if command == "backup" else ()
        zstd = ("--compress-type=zst", "--compress-level=1") if command == "backup" else ()
        two = () if command == "stanza-create" else ("--process-max=2",)
        argv = [
            *(tool("pgbackrest"), "--config=/dev/null", "--stanza=bench", f"--pg1-path={data}"),
            *(f"--{name}={self._directory / where}" for name, where in place.items() if _has(command, name)),
            *(
                "--log-level-console=error",
                "--log-level-file=off",
                *connection,
                *retention,
                *zstd,
                *two,
                *more,
                command,
            ),
        ]
        began = time.monotonic()
        child = await asyncio.create_subprocess_exec(*argv, env=self._environment)
        if await child.wait() != 0:
            raise SystemExit(f"the peer ended with status {child.returncode}: {' '.join(argv)}")
        return time.monotonic() - began


def _has(command: str, option: str) -> bool:
    return option != "spool-path" or command == "restore"


class Ours:
    """Backups into S3, and back."""

    def __init__(self, server: PostgresServer, repository: Repository) -> None:
        self._server = server
        self._repository = repository
        self._identity = Identity.generate()
        self._account: Account | None = account_of("postgres")
        self._manifest: Manifest | None = None

    async def backup(self) -> float:
        """Seconds until the manifest is written."""
        assignment = Assignment(
            backup_id=new_backup_id(datetime.now(UTC), os.urandom(4)),
            target="cluster",
            instance="bench",
            recipients=(str(self._identity.to_public()),),
        )
        began = time.monotonic()
        source = PostgresPhysicalSource(self._server)
        self._manifest = await Taking(self._repository, SystemClock()).take(source, assignment)
        return time.monotonic() - began

    async def restore(self, into: Path) -> float:
        """Seconds of the newest backup into a new directory, compared."""
        if self._manifest is None:
            raise SystemExit("no backup was taken")
        backup = StoredBackup(self._repository, self._manifest, [self._identity])
        began = time.monotonic()
        await restore_cluster(into, backup, self._server, self._account)
        return time.monotonic() - began


async def compare(rows: int) -> None:
    """Print what each takes, and the ratios."""
    async with S3Server() as s3:
        cluster = PostgresCluster(standbys=0)
        node = cluster.primary
        node.binaries = PostgresBinaries(directory=DEBIAN)
        async with cluster:
            await fill(node, rows)
            await s3.create_bucket(BUCKET)
            server = PostgresServer(
                host=node.host,
                port=node.port,
                user=node.credentials.superuser,
                password=node.credentials.superuser_password,
                database="postgres",
                tls="disable",
                binaries=str(DEBIAN),
            )
            size = int(await node.psql("SELECT sum(pg_database_size(oid)) FROM pg_database"))
            store = S3ObjectStore(
                S3Location(bucket=BUCKET, endpoint=s3.url, access_key=S3_ACCESS_KEY, secret_key=S3_SECRET_KEY)
            )
            work = cluster.directory / "bench"
            work.mkdir()
            seconds = await measure(
                Peer(work, node.data_dir, server), Ours(server, Repository("bench", store)), work / "restored"
            )
            store.close()
    show(size, {name: statistics.median(values) for name, values in seconds.items()})


async def fill(node: DevPostgres, rows: int) -> None:
    """Rows that are not all filler, piece by piece: a single statement may take too long for a busy machine."""
    await node.psql("CREATE TABLE data (n int, key text, body text)", database="app")
    for first in range(1, rows + 1, TOGETHER):
        await node.psql(DATA.format(first=first, last=min(first + TOGETHER - 1, rows)), database="app")
    await node.psql("CHECKPOINT")


async def measure(peer: Peer, ours: Ours, into: Path) -> dict[str, list[float]]:
    """Seconds of every turn, by what was done."""
    await peer.prepare()
    await peer.backup()  # the first reader fills the caches for both
    seconds: dict[str, list[float]] = {
        name: [] for name in ("peer_backup", "backup", "peer_restore", "restore", "check")
    }
    for _ in range(TURNS):
        seconds["peer_backup"].append(await peer.backup())
        seconds["backup"].append(await ours.backup())
    for _ in range(TURNS):
        seconds["peer_restore"].append(await peer.restore(into))
        await asyncio.to_thread(shutil.rmtree, into)
        seconds["restore"].append(await ours.restore(into))
        began = time.monotonic()
        await asyncio.to_thread(check_base, into)
        seconds["check"].append(time.monotonic() - began)
        await asyncio.to_thread(shutil.rmtree, into)
    return seconds


def show(size: int, medians: dict[str, float]) -> None:
    """Print the figures."""
    figure(BACKUP, "cluster_mb", size / 1e6)
    figure(BACKUP, "peer_s", medians["peer_backup"], peer=PEER)
    figure(BACKUP, "backup_s", medians["backup"])
    figure(BACKUP, "ratio", medians["backup"] / medians["peer_backup"], at_most=MOST_BACKUP, peer=PEER)
    figure(BACKUP, "peak_rss_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    figure(RESTORE, "peer_s", medians["peer_restore"], peer=PEER)
    figure(RESTORE, "restore_s", medians["restore"])
    figure(RESTORE, "check_s", medians["check"])
    figure(RESTORE, "ratio", medians["restore"] / medians["peer_restore"], at_most=MOST_RESTORE, peer=PEER)


def main() -> None:
    """Measure, where Debian's PostgreSQL 15 is installed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    if not (DEBIAN / "postgres").exists():
        raise SystemExit(f"{DEBIAN} is missing: apt-get install postgresql-15 (the peer knows no later version)")
    asyncio.run(compare(rows))


if __name__ == "__main__":
    main()

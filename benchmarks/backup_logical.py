"""`backup-logical`: a logical backup into S3, encrypted, beside `pg_dump -Fc -Z0 | zstd -1 -T0 > /dev/null`.

Both read the same database of the same server in the same run, in turns; the median of three counts. `--rows` sets the
size: 1,000 rows are about 1 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from _figures import figure
from backup.adapters.s3 import S3Location, S3ObjectStore
from backup.manifest import new_backup_id
from backup.pipeline.codec import Identity
from backup.repository import Repository
from backup.sources.postgres_logical import PostgresLogicalSource
from backup.sources.postgres_server import PostgresServer
from backup.taking import Assignment, Taking
from yaoki.clock import SystemClock
from yaoki_devstack.postgres_cluster import PostgresCluster
from yaoki_devstack.s3 import S3_ACCESS_KEY, S3_SECRET_KEY, S3Server

BENCH: Final = "backup-logical"
BUCKET: Final = "logical"
TURNS: Final = 3
MOST: Final = 1.15
ZSTD: Final = Path(__file__).parents[1] / ".tools" / "bin" / "zstd"
DATA: Final = """
CREATE TABLE data AS SELECT n, md5(n::text) || md5((n * 7)::text) AS key,
  repeat(md5((n % 1000)::text), 12)
    || (SELECT string_agg(md5((n * 31 + k)::text), '') FROM generate_series(1, 16) AS k) AS body
FROM generate_series(1, {rows}) AS n
"""


async def peer(server: PostgresServer) -> float:
    """Seconds of the two programs."""
    program = str(ZSTD) if ZSTD.exists() else "zstd"
    line = f"{server.program('pg_dump')} -Fc -Z0 | {program} -1 -T0 -q > /dev/null"
    began = time.monotonic()
    child = await asyncio.create_subprocess_exec(
        "sh", "-ec", line, env={"PATH": os.environ["PATH"], **server.environment()}
    )
    if await child.wait() != 0:
        raise SystemExit(f"the peer ended with status {child.returncode}: {line}")
    return time.monotonic() - began


async def ours(server: PostgresServer, repository: Repository, *, fingerprints: bool) -> float:
    """Seconds until the manifest is written."""
    source = PostgresLogicalSource(server, fingerprints=fingerprints)
    assignment = Assignment(
        backup_id=new_backup_id(datetime.now(UTC), os.urandom(4)),
        target="data",
        instance="bench",
        recipients=(str(Identity.generate().to_public()),),
    )
    began = time.monotonic()
    await Taking(repository, SystemClock()).take(source, assignment)
    return time.monotonic() - began


async def compare(rows: int) -> None:
    """Print what each takes, and the ratios."""
    async with PostgresCluster(standbys=0) as cluster, S3Server() as s3:
        node = cluster.primary
        await node.psql(DATA.format(rows=rows), database="app")
        await s3.create_bucket(BUCKET)
        server = PostgresServer(
            host=node.host,
            port=node.port,
            user=node.credentials.superuser,
            password=node.credentials.superuser_password,
            database="app",
            tls="disable",
            binaries=str(node.binaries.directory),
        )
        store = S3ObjectStore(
            S3Location(bucket=BUCKET, endpoint=s3.url, access_key=S3_ACCESS_KEY, secret_key=S3_SECRET_KEY)
        )
        repository = Repository("bench", store)
        await peer(server)  # the first reader fills the caches for all
        seconds: dict[str, list[float]] = {"peer": [], "with": [], "without": []}
        for _ in range(TURNS):
            seconds["peer"].append(await peer(server))
            seconds["with"].append(await ours(server, repository, fingerprints=True))
            seconds["without"].append(await ours(server, repository, fingerprints=False))
        size = int(await node.psql("SELECT pg_database_size('app')"))
        store.close()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    against = "pg_dump -Fc -Z0 | zstd -1 -T0"
    figure(BENCH, "database_mb", size / 1e6)
    figure(BENCH, "peer_s", medians["peer"], peer=against)
    figure(BENCH, "with_fingerprint_s", medians["with"])
    figure(BENCH, "without_fingerprint_s", medians["without"])
    figure(BENCH, "ratio_without_fingerprint", medians["without"] / medians["peer"], at_most=MOST, peer=against)
    figure(BENCH, "ratio_with_fingerprint", medians["with"] / medians["peer"], peer=against)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    asyncio.run(compare(parser.parse_args().rows))


if __name__ == "__main__":
    main()

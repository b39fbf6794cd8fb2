"""A PostgreSQL data directory that is initialised once a machine and copied for every cluster."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yaoki_devstack.binaries import cache_directory
from yaoki_devstack.process import run
from yaoki_devstack.users import can_reach

if TYPE_CHECKING:
    from yaoki_devstack.binaries import PostgresBinaries
    from yaoki_devstack.users import Identity

NODE_CONFIG = "node.conf"
"""One node's settings, beside its data directory: inside, pg_rewind and pg_basebackup overwrite them."""

_FORMAT = 1
"""Raised when a template made by an older version of this module must not be used any more."""

_SETTINGS = f"""
# Written by yaoki_devstack; the same on every node.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
# Neither shared memory segments nor files in /dev/shm are left when everything is killed.
dynamic_shared_memory_type = mmap
max_connections = 100
shared_buffers = 32MB
wal_level = replica
max_wal_senders = 20
max_replication_slots = 20
max_slot_wal_keep_size = 1GB
wal_keep_size = 64MB
wal_log_hints = on
hot_standby = on
wal_receiver_status_interval = 1s
wal_receiver_timeout = 10s
wal_sender_timeout = 10s
wal_retrieve_retry_interval = 500ms
log_line_prefix = '%m [%p] %a '
include_if_exists = '../{NODE_CONFIG}'
"""

_HBA = """\
host  all          all  127.0.0.1/32  scram-sha-256
host  replication  all  127.0.0.1/32  scram-sha-256
"""


@dataclass(frozen=True, kw_only=True)
class PostgresCredentials:
    """The roles of every cluster, and the application's database; for throw-away servers on loopback."""

    superuser: str = "postgres"
    superuser_password: str = "postgres-secret"  # noqa: S105 - of a throw-away server
    replication_user: str = "yaoki_replication"
    replication_password: str = "replication-secret"  # noqa: S105 - of a throw-away server
    app_user: str = "yaoki_app"
    app_password: str = "app-secret"  # noqa: S105 - of a throw-away server
    database: str = "app"


async def create_data_directory(
    target: Path, *, binaries: PostgresBinaries, credentials: PostgresCredentials, identity: Identity | None
) -> None:
    """Create a stopped primary in `target`, with roles, database and a system identifier of its own."""
    template = await _template(binaries, credentials, identity)
    await run(["cp", "-a", "--reflink=auto", template, target])
    await _give_new_system_identifier(target, binaries, identity)


async def _template(binaries: PostgresBinaries, credentials: PostgresCredentials, identity: Identity | None) -> Path:
    key = repr((_FORMAT, await run([binaries.postgres, "--version"]), sorted(asdict(credentials).items()), _SETTINGS))
    user = identity.uid if identity else os.geteuid()
    parent = await asyncio.to_thread(_template_parent, identity)
    template = parent / f"pgdata-{user}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not template.exists():
        work = await asyncio.to_thread(_work_directory, parent, identity)
        try:
            await _initialise(work / "data", binaries, credentials, identity)
            await asyncio.to_thread(_publish, work / "data", template)
        finally:
            await asyncio.to_thread(shutil.rmtree, work)
    return template


def _template_parent(identity: Identity | None) -> Path:
    cache = cache_directory()
    if can_reach(cache, identity):
        return cache
    fallback = Path("/var/tmp/yaoki-cache")  # noqa: S108 - checked below to be ours
    fallback.mkdir(mode=0o755, exist_ok=True)
    if fallback.stat().st_uid != os.geteuid():
        raise PermissionError(f"{fallback} belongs to another user; set YAOKI_DEVSTACK_CACHE to a directory of yours")
    return fallback


def _work_directory(parent: Path, identity: Identity | None) -> Path:
    work = Path(tempfile.mkdtemp(dir=parent, prefix=".pgdata-"))
    if identity is not None:
        os.chown(work, identity.uid, identity.gid)
    return work


def _publish(data: Path, template: Path) -> None:
    try:
        data.rename(template)
    except OSError:  # another process was faster: its template is as good
        if not template.exists():
            raise


async def _initialise(
    data: Path, binaries: PostgresBinaries, credentials: PostgresCredentials, identity: Identity | None
) -> None:
    password_file = data.with_name("password")
    password_file.write_text(credentials.superuser_password, encoding="utf-8")
    password_file.chmod(0o644)
    await run(
        [
            *(binaries.initdb, "-D", data, "-U", credentials.superuser, f"--pwfile={password_file}"),
            *("--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--data-checksums"),
            *("--no-sync", "--no-instructions"),
        ],
        identity=identity,
    )
    with (data / "postgresql.conf").open("a", encoding="utf-8") as config:
        config.write(_SETTINGS)
    (data / "pg_hba.conf").write_text(_HBA, encoding="utf-8")
    await run_single_user(data, _roles(credentials), binaries=binaries, identity=identity)


def _roles(credentials: PostgresCredentials) -> list[str]:
    replication, app = credentials.replication_user, credentials.app_user
    # What pg_rewind reads from its source, as its documentation lists it.
    readable = (
        "pg_ls_dir(text, boolean, boolean)",
        "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)",
        "pg_read_binary_file(text, bigint, bigint, boolean)",
    )
    return [
        f"CREATE ROLE {replication} LOGIN REPLICATION PASSWORD '{credentials.replication_password}'",
        f"CREATE ROLE {app} LOGIN PASSWORD '{credentials.app_password}'",
        f"CREATE DATABASE {credentials.database} OWNER {app}",
        *(f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {replication}" for function in readable),
    ]


async def run_single_user(
    data: Path, statements: list[str], *, binaries: PostgresBinaries, identity: Identity | None
) -> None:
    """Run SQL on a stopped data directory without opening a port."""
    # With -j a statement ends at a semicolon and an empty line.
    script = "".join(f"{statement};\n\n" for statement in statements)
    await run(
        [binaries.postgres, "--single", "-j", "-D", data, "-c", "exit_on_error=on", "postgres"],
        identity=identity,
        stdin=script,
    )


async def _give_new_system_identifier(data: Path, binaries: PostgresBinaries, identity: Identity | None) -> None:
    """Make a copy of the template another cluster.

    Otherwise a standby could follow a stranger, and backups of two clusters would look like one's. The
    identifier is the first field of the control file; pg_resetwal then writes a new checksum and first WAL
    segment. It refuses to go on without --force because the old checksum no longer fits.
    """
    with (data / "global" / "pg_control").open("r+b") as control:
        control.write((uuid.uuid4().int >> 65).to_bytes(8, "little"))
    await run([binaries.pg_resetwal, "--force", "-D", data], identity=identity)

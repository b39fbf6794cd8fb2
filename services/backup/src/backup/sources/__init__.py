"""What can be backed up: one module a kind, and one row in `KINDS`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from yaoki.config.backup import (
    BackupSection,
    BackupTarget,
    FilesBackup,
    PostgresLogicalBackup,
    PostgresPhysicalBackup,
    RedisBackup,
    RedisRestorePlace,
)

from backup.adapters.accounts import account_of
from backup.kinds import Kind
from backup.sources.cluster_rehearsal import ClusterRehearsal
from backup.sources.cluster_restorer import ClusterRestorer
from backup.sources.file_tree import FileTreeSource
from backup.sources.postgres_logical import PostgresLogicalSource
from backup.sources.postgres_physical import PostgresPhysicalSource
from backup.sources.postgres_rehearsal import PostgresRehearsal
from backup.sources.postgres_restorer import PostgresRestorer
from backup.sources.postgres_server import PostgresServer
from backup.sources.redis_dump import RedisSource
from backup.sources.redis_rehearsal import RedisRehearsal
from backup.sources.redis_restorer import RedisRestorer
from backup.sources.redis_server import RedisServer
from backup.sources.tree_rehearsal import TreeRehearsal
from backup.sources.tree_restorer import TreeRestorer

if TYPE_CHECKING:
    from collections.abc import Callable


def _postgres_logical(target: PostgresLogicalBackup, section: BackupSection) -> Kind:
    server = _server(target, section)
    return Kind(
        source=PostgresLogicalSource(server, tables=target.tables, fingerprints=target.fingerprints),
        rehearsal=PostgresRehearsal(
            binaries=section.binaries or "", account=account_of(section.run_as), directory=_scratch(section)
        ),
        restorer=PostgresRestorer(server, target.maintenance_database),
    )


def _postgres_physical(target: PostgresPhysicalBackup, section: BackupSection) -> Kind:
    server, account = _server(target, section), account_of(section.run_as)
    return Kind(
        source=PostgresPhysicalSource(server),
        rehearsal=ClusterRehearsal(binaries=section.binaries or "", account=account, directory=_scratch(section)),
        restorer=ClusterRestorer(target.restore_directory, server, account),
    )


def _files(target: FilesBackup, section: BackupSection) -> Kind:
    return Kind(
        source=FileTreeSource(target.root, target.exclude),
        rehearsal=TreeRehearsal(_scratch(section)),
        restorer=TreeRestorer(target.root),
    )


def _server(target: PostgresLogicalBackup | PostgresPhysicalBackup, section: BackupSection) -> PostgresServer:
    return PostgresServer(
        host=target.host,
        port=target.port,
        user=target.user,
        password=target.password.reveal() if target.password is not None else "",
        database=target.database,
        tls=target.tls,
        ca_file=target.ca_file or "",
        binaries=section.binaries or "",
    )


def _redis(target: RedisBackup, section: BackupSection) -> Kind:
    live = _redis_server(target)
    return Kind(
        source=RedisSource(live),
        rehearsal=RedisRehearsal(section.redis_server or "redis-server", _scratch(section)),
        restorer=RedisRestorer(live, _redis_server(target.restore_to) if target.restore_to is not None else None),
    )


def _redis_server(place: RedisBackup | RedisRestorePlace) -> RedisServer:
    return RedisServer(
        host=place.host,
        port=place.port,
        user=place.user,
        password=place.password.reveal() if place.password is not None else "",
        tls=place.tls,
        ca_file=place.ca_file or "",
    )


def _scratch(section: BackupSection) -> Path | None:
    return Path(section.scratch) if section.scratch else None


KINDS: Final[dict[type[BackupTarget], Callable[[Any, BackupSection], Kind]]] = {
    PostgresLogicalBackup: _postgres_logical,
    PostgresPhysicalBackup: _postgres_physical,
    FilesBackup: _files,
    RedisBackup: _redis,
}
"""How each kind of target in the configuration becomes one that can be worked with."""


def kind_of(target: BackupTarget, section: BackupSection) -> Kind:
    """Everything that works on `target`."""
    return KINDS[type(target)](target, section)

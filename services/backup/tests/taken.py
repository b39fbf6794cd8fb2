"""Backups that are really taken."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from backup.manifest import new_backup_id
from backup.repository import Repository
from backup.taking import Assignment, Taking
from yaoki.clock import SystemClock

if TYPE_CHECKING:
    from backup.manifest import Manifest
    from backup.pipeline.codec import Identity
    from backup.ports import ObjectStore, Source


def repository_in(store: ObjectStore) -> Repository:
    """Under a prefix, as in a bucket that is shared."""
    return Repository("main", store, "yaoki")


def assignment(identity: Identity, *, target: str = "orders") -> Assignment:
    """A backup that starts now."""
    return Assignment(
        backup_id=new_backup_id(datetime.now(UTC), os.urandom(4)),
        target=target,
        instance="backup-1",
        recipients=(str(identity.to_public()),),
        patience_s=10.0,
    )


async def take(repository: Repository, source: Source, identity: Identity, *, target: str = "orders") -> Manifest:
    """Take one."""
    return await Taking(repository, SystemClock()).take(source, assignment(identity, target=target))

"""Restores a physical backup into a data directory of its own, on the host of the service."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backup.errors import RestoreRefusedError
from backup.sources.cluster_restore import restore_cluster, restored_contents

if TYPE_CHECKING:
    from backup.adapters.accounts import Account
    from backup.kinds import RestoreChoices
    from backup.manifest import Content
    from backup.sources.postgres_server import PostgresServer
    from backup.stored import StoredBackup


class ClusterRestorer:
    """See `kinds.Restorer`. A cluster is not exchanged here: who leads, and when, is decided by the failover.

    Args:
        directory: Where data directories are put.
        programs: Of the backups' major version.
        account: Who owns them, where this process is root.
    """

    swaps: Final = False

    def __init__(self, directory: str, programs: PostgresServer, account: Account | None) -> None:
        self._directory = directory
        self._programs = programs
        self._account = account

    def into(self, identity: str) -> str:
        """See `Restorer.into`."""
        return f"{self._directory}/restored-{identity}"

    async def restore(self, backup: StoredBackup, identity: str, choices: RestoreChoices) -> None:  # noqa: ARG002 - a cluster is restored whole
        """See `Restorer.restore`."""
        await self.discard(identity)
        try:
            await restore_cluster(Path(self.into(identity)), backup, self._programs, self._account)
        except BaseException:
            await self.discard(identity)
            raise

    async def contents(self, backup: StoredBackup, identity: str) -> tuple[Content, ...]:  # noqa: ARG002 - it lies there
        """See `Restorer.contents`."""
        return await restored_contents(Path(self.into(identity)))

    async def swap(self, identity: str) -> str:
        """See `Restorer.swap`."""
        raise RestoreRefusedError(
            f"a cluster is not swapped; the restored data directory is {self.into(identity)}",
            advice="Start a server from it, and hand over by a failover.",
        )

    async def swapped(self, identity: str) -> str:  # noqa: ARG002 - it never is
        """See `Restorer.swapped`."""
        return ""

    async def discard(self, identity: str) -> None:
        """See `Restorer.discard`."""
        await asyncio.to_thread(shutil.rmtree, self.into(identity), ignore_errors=True)

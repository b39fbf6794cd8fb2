"""Restores a tree of files into a new directory beside the live one."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backup.errors import RestoreRefusedError
from backup.sources.file_tree import contents_of
from backup.sources.tree_restore import restore_tree

if TYPE_CHECKING:
    from backup.kinds import RestoreChoices
    from backup.manifest import Content
    from backup.stored import StoredBackup


class TreeRestorer:
    """See `kinds.Restorer`. A tree is not exchanged: who has files of it open would go on with the old ones.

    Args:
        root: The live tree.
    """

    swaps: Final = False

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/") or "/"

    def into(self, identity: str) -> str:
        """See `Restorer.into`."""
        return f"{self._root}.restored-{identity}"

    async def restore(self, backup: StoredBackup, identity: str, choices: RestoreChoices) -> None:
        """See `Restorer.restore`."""
        await self.discard(identity)
        try:
            await restore_tree(Path(self.into(identity)), backup, owners=choices.owners and os.geteuid() == 0)
        except BaseException:
            await self.discard(identity)
            raise

    async def contents(self, backup: StoredBackup, identity: str) -> tuple[Content, ...]:
        """See `Restorer.contents`."""
        return await contents_of(self.into(identity), backup.manifest.source.contents)

    async def swap(self, identity: str) -> str:
        """See `Restorer.swap`."""
        raise RestoreRefusedError(
            f"a tree of files is not swapped; the restored one is {self.into(identity)}",
            advice="Stop what uses the live tree, and rename the two directories.",
        )

    async def swapped(self, identity: str) -> str:  # noqa: ARG002 - it never is
        """See `Restorer.swapped`."""
        return ""

    async def discard(self, identity: str) -> None:
        """See `Restorer.discard`."""
        await asyncio.to_thread(shutil.rmtree, self.into(identity), ignore_errors=True)

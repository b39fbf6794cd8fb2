"""Rehearses the restore of a tree of files in a directory of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yaoki.events.backup import VerificationStage

from backup.errors import DamagedError, RestoreFailedError
from backup.sources.file_tree import DATA, contents_of
from backup.sources.tree_restore import restore_tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backup.manifest import Content
    from backup.stored import StoredBackup

_MAGIC: Final = slice(257, 262)


class TreeRehearsal:
    """See `ports.Rehearsal`.

    Args:
        directory: Where it may unpack; needs room for the whole tree. The system's temporary one when None.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory

    @asynccontextmanager
    async def structure(self) -> AsyncIterator[ArchiveHead]:
        """See `Rehearsal.structure`: the restore reads every header; here the form of the first is looked at."""
        yield ArchiveHead()

    @asynccontextmanager
    async def restored(self, backup: StoredBackup) -> AsyncIterator[RestoredTree]:
        """See `Rehearsal.restored`."""
        home = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="yaoki-", dir=self._directory))
        try:
            await restore_tree(home / "tree", backup, owners=os.geteuid() == 0)
            yield RestoredTree(home / "tree", backup)
        finally:
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


class ArchiveHead:
    """See `ports.Structure`."""

    stream: Final = DATA

    def __init__(self) -> None:
        self._head = b""

    async def take(self, chunk: bytes) -> None:
        """See `Structure.take`."""
        if len(self._head) < _MAGIC.stop:
            self._head += chunk[: _MAGIC.stop]

    async def judge(self) -> None:
        """See `Structure.judge`."""
        if self._head[_MAGIC] != b"ustar":
            raise DamagedError(
                f"stream {DATA!r} is no tar archive",
                advice="Take a new backup.",
                stage=VerificationStage.STRUCTURE,
            )


class RestoredTree:
    """See `ports.RestoredCopy`."""

    def __init__(self, root: Path, backup: StoredBackup) -> None:
        self._root = root
        self._backup = backup

    async def contents(self) -> tuple[Content, ...]:
        """See `RestoredCopy.contents`; only root can give files away, so that others cannot compare owners."""
        return await contents_of(str(self._root), self._backup.manifest.source.contents)

    async def ask(self, question: str) -> str:
        """See `RestoredCopy.ask`: whether a name exists."""
        if question.startswith("/") or ".." in question.split("/"):
            raise RestoreFailedError(
                f"{question[:100]!r} is no name below the root", advice="Give names relative to the root."
            )
        return "true" if await asyncio.to_thread(os.path.lexists, self._root / question) else "false"

"""A tree of files."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from yaoki.events.backup import BackupFailureClass

from backup.errors import SourceFailedError
from backup.manifest import SourceFacts
from backup.sources.tar_stream import tar_stream
from backup.sources.tree_tally import OWNERS, Tally
from backup.sources.tree_walk import Warnings, shown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from backup.manifest import Content

KIND: Final = "files"
DATA: Final = "data"
_CHUNK: Final = 512 << 10


class FileTreeSource:
    """See `ports.Source`. The view is no snapshot: each file is as it was when it was read.

    Args:
        root: A directory.
        excluded: Patterns over names relative to it; a directory that fits is left out with its content.
    """

    def __init__(self, root: str, excluded: tuple[str, ...] = ()) -> None:
        self._root = root.rstrip("/") or "/"
        self._excluded = excluded

    @property
    def kind(self) -> str:
        """See `Source.kind`."""
        return KIND

    @asynccontextmanager
    async def capture(self) -> AsyncIterator[TreeCapture]:
        """See `Source.capture`."""
        yield TreeCapture(self._root, self._excluded)


class TreeCapture:
    """See `ports.Capture`."""

    streams: Final = (DATA,)

    def __init__(self, root: str, excluded: tuple[str, ...]) -> None:
        self._root = root
        self._excluded = excluded
        self._began = datetime.now(UTC)
        self._tally = Tally()
        self._warnings = Warnings()

    async def stream(self, name: str) -> AsyncGenerator[bytes]:  # noqa: ARG002 - there is one
        """See `Capture.stream`."""
        pieces = tar_stream(self._root, self._excluded, self._tally, self._warnings)
        try:
            while chunk := await asyncio.to_thread(_collect, pieces, self._root):
                yield chunk
        finally:
            await asyncio.to_thread(_close, pieces)

    async def facts(self) -> SourceFacts:
        """See `Capture.facts`."""
        details = {"root": shown(self._root), "excluded": "\n".join(self._excluded)}
        return SourceFacts(
            consistent_at=self._began,
            contents=self._tally.contents(),
            details=details,
            warnings=self._warnings.all(),
        )


async def contents_of(root: str, recorded: tuple[Content, ...] = ()) -> tuple[Content, ...]:
    """Counts and fingerprints of a tree, taken as those of a manifest are.

    Args:
        root: The tree.
        recorded: What is taken for granted about owners where this process could not have set them.
    """
    capture = TreeCapture(root, ())
    async for _ in capture.stream(DATA):
        pass
    found = (await capture.facts()).contents
    if os.geteuid() == 0:
        return found
    owners = {content.name: content for content in recorded if content.name == OWNERS}
    return tuple(owners.get(content.name, content) for content in found)


def _collect(pieces: Iterator[bytes], root: str) -> bytes:
    collected = bytearray()
    with _translated(root):
        for piece in pieces:
            collected += piece
            if len(collected) >= _CHUNK:
                break
    return bytes(collected)


def _close(pieces: Iterator[bytes]) -> None:
    """Release the file that is being read; a thread that still reads it does so itself."""
    close = getattr(pieces, "close", None)
    if close is not None:
        try:
            close()
        except ValueError:
            return


@contextmanager
def _translated(root: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as exc:
        raise SourceFailedError(
            f"{shown(str(exc.filename or root))} cannot be read",
            advice="Run the backup as a user who can read everything below the root, or exclude it.",
            failure=BackupFailureClass.AUTHENTICATION,
        ) from exc
    except OSError as exc:
        raise SourceFailedError(
            f"{shown(str(exc.filename or root))} could not be read ({exc.strerror})",
            advice="Look at the disk, and whether the root is mounted.",
        ) from exc

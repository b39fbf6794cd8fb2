"""A tar archive becomes a tree of files again, in a directory that was empty, and nowhere else.

Whoever can write to the bucket can seal an archive: names and links are taken for hostile.
"""

# ruff: noqa: PTH101, PTH102, PTH120, PTH123, PTH211 - paths come by the million, and stay the text that they are

from __future__ import annotations

import asyncio
import os
import stat
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from yaoki.events.backup import BackupFailureClass, VerificationStage

from backup.errors import DamagedError, RestoreFailedError, RestoreRefusedError
from backup.pipeline.channel import ChannelAbortedError, ChannelReader
from backup.pipeline.joint import Joint
from backup.sources.file_tree import DATA
from backup.sources.tree_walk import shown

if TYPE_CHECKING:
    from pathlib import Path

    from backup.pipeline.channel import Channel
    from backup.stored import StoredBackup

_PIECE: Final = 64 << 10
_WAITING: Final = 4 << 20
_NANO: Final = 10**9
_THREADS: Final = 2


async def restore_tree(into: Path, backup: StoredBackup, *, owners: bool) -> None:
    """Unpack a backup.

    Args:
        into: Has to be missing or empty.
        backup: Of kind `files`.
        owners: Give every entry its owner; needs root.

    Raises:
        RestoreRefusedError: The directory is not empty.
        BackupError: It is incomplete; what is there can be removed.
    """
    await asyncio.to_thread(_expect_empty, into)
    async with Joint("untar", _THREADS) as joint:
        channel = joint.channel(_WAITING)

        async def feed() -> None:
            await backup.feed(DATA, lambda chunk: joint.blocking(channel.put, chunk))
            channel.close()

        await joint.together(feed(), joint.blocking(_unpack, channel, str(into), owners))


def _expect_empty(into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        raise RestoreRefusedError(
            f"{into} is not empty", advice="Name a directory that does not exist; move files over afterwards."
        )


def _unpack(channel: Channel, root: str, owners: bool) -> None:  # noqa: FBT001 - called through a thread pool
    work = _Unpacking(root, owners=owners)
    reader = ChannelReader(channel)
    try:
        # pax names are BINARY or UTF-8; either way the bytes come back through surrogates.
        with tarfile.open(fileobj=reader, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:  # type: ignore[call-overload]  # its stub wants more of a file than read
            for member in archive:
                work.add(archive, member)
                archive.members = []  # it would keep every one
        while channel.get():
            pass  # the archive has ended; the stream's own end is padding
    except tarfile.TarError as exc:
        raise DamagedError(
            f"stream {DATA!r} is no tar archive",
            advice="Restore from another backup.",
            stage=VerificationStage.STRUCTURE,
        ) from exc
    except ChannelAbortedError:
        raise
    except OSError as exc:
        raise _failed(exc) from exc
    work.finish()


class _Unpacking:
    def __init__(self, root: str, *, owners: bool) -> None:
        self._root = root
        self._owners = owners
        self._directories: list[tuple[str, tarfile.TarInfo]] = []
        self._real: set[str] = {root}

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._inside(member.name)
        if member.isdir():
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
            self._real.add(path)
            self._directories.append((path, member))
            return
        if member.issym():
            os.symlink(member.linkname, path)
        elif member.islnk():
            os.link(self._inside(member.linkname), path, follow_symlinks=False)
            return
        elif member.isfile():
            self._write(archive, member, path)
        elif member.isfifo():
            os.mkfifo(path, 0o600)
        else:
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            os.mknod(path, kind | 0o600, os.makedev(member.devmajor, member.devminor))
        self._finish(path, member)

    def finish(self) -> None:
        """Directories last: what is put into them changes their times, and they may forbid writing."""
        for path, member in reversed(self._directories):
            self._finish(path, member)

    def _inside(self, name: str) -> str:
        """The path of a name, if every directory on the way is one that was unpacked before."""
        if name == ".":
            return self._root
        if name.startswith("/") or ".." in name.split("/"):
            raise _hostile(name)
        path = f"{self._root}/{name.removeprefix('./')}"
        if os.path.dirname(path) not in self._real:
            raise _hostile(name)
        return path

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        content = archive.extractfile(member)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            size = 0
            while content is not None and (piece := content.read(_PIECE)):
                size += len(piece)
                if piece.count(0) == len(piece):
                    file.seek(size)  # a hole
                else:
                    _write_all(file.fileno(), piece)
            file.truncate(size)

    def _finish(self, path: str, member: tarfile.TarInfo) -> None:
        if self._owners:
            os.chown(path, member.uid, member.gid, follow_symlinks=False)
        if not member.issym():
            os.chmod(path, member.mode)
        nanoseconds = _nanoseconds(str(member.pax_headers.get("mtime", int(member.mtime))))
        os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)


def _nanoseconds(seconds: str) -> int:
    whole, _, fraction = seconds.lstrip("-").partition(".")
    value = int(whole) * _NANO + int(fraction[:9].ljust(9, "0"))
    return -value if seconds.startswith("-") else value


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _hostile(name: str) -> DamagedError:
    return DamagedError(
        f"the archive wants to write {shown(name)[:200]!r}, which is not below the directory that is restored",
        advice="Do not use this backup: nobody's tree contains such a name.",
        stage=VerificationStage.STRUCTURE,
    )


def _failed(exc: OSError) -> RestoreFailedError:
    full = BackupFailureClass.CAPACITY if exc.errno in {28, 122} else None
    return RestoreFailedError(
        f"{shown(str(exc.filename or 'a file'))} cannot be restored ({exc.strerror})",
        advice="Make room, or run the restore as root, and restore into an empty directory again.",
        failure=full,
    )

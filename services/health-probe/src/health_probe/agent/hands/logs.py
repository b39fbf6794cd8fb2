"""Deletes old logs below configured directories, and nothing else.

Directories are opened one below the other without following links, and files are named relative to the open directory,
so that no link, however it is swapped in meanwhile, leads out. Kept are: what is no regular file, what has another
name as well (deleting it frees nothing), what a process has open, what lies on another file system.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections import Counter
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.config.repairs import LogSettings  # noqa: TC002 - msgspec reads the annotation at run time
from yaoki.hands import Sight, not_allowed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki.config.repairs import Repairs
    from yaoki.plans import JsonObject

_DEEPEST: Final = 8
_MOST_FILES: Final = 500
_DAY_S: Final = 86_400.0
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LogParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of the configured directories; all when left out."""

    directory: str = ""


class LogsDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """What was deleted.

    Attributes:
        files: How many.
        freed_bytes: Blocks that they took.
        kept: How many were left after all, because they had changed since they were looked at.
    """

    files: int
    freed_bytes: int
    kept: int


class _Old(msgspec.Struct, frozen=True, array_like=True):
    """A file to delete. It is deleted only while it is still this very file, unchanged."""

    path: str
    inode: int
    modified_ns: int
    size: int


class DeleteLogs:
    """See `Hand`. Only what the dry run named is deleted; what is gone is not deleted again."""

    name = "logs.delete"
    params = LogParams

    def __init__(self, repairs: Repairs) -> None:
        self._logs = repairs.logs

    async def look(self, params: LogParams) -> Sight:
        """See `Hand.look`. At most 500 files, the largest, in one order."""
        chosen = self._chosen(params)
        found, kept, unreadable = await asyncio.to_thread(_scan, chosen)
        found = sorted(found, key=lambda one: -one.size)[:_MOST_FILES]
        freed, now = sum(one.size for one in found), time.time()
        rules = "; ".join(
            f"{', '.join(one.files)} in {one.directory} older than {one.older_than / _DAY_S:g} d" for one in chosen
        )
        return Sight(
            would=f"delete {len(found)} files of {freed} bytes ({rules})",
            before={"files": msgspec.to_builtins(found)},
            facts={
                "files": [
                    {"path": one.path, "bytes": one.size, "days": round((now - one.modified_ns / 1e9) / _DAY_S, 1)}
                    for one in found
                ],
                "kept": dict(kept),
                "unreadable": unreadable,
            },
            idle=""
            if found
            else f"no file is old enough and free to be deleted ({rules}); kept: {dict(kept) or 'none'}",
        )

    def happened(self, params: LogParams, before: JsonObject, now: Sight) -> bool:  # noqa: ARG002 - the port's signature
        """See `Hand.happened`."""
        wanted = {one.path for one in msgspec.convert(before["files"], list[_Old])}
        return not wanted & {str(one[0]) for one in now.before["files"]}

    async def act(self, params: LogParams, seen: Sight, order_id: str) -> LogsDeleted:  # noqa: ARG002 - as above
        """See `Hand.act`."""
        doomed = {one.path: one for one in msgspec.convert(seen.before["files"], list[_Old])}
        return await asyncio.to_thread(_delete, self._chosen(params), doomed)

    def _chosen(self, params: LogParams) -> tuple[LogSettings, ...]:
        if not params.directory:
            return self._logs
        chosen = tuple(one for one in self._logs if one.directory == params.directory)
        if not chosen:
            raise not_allowed("directory", params.directory, [one.directory for one in self._logs], "repairs.logs")
        return chosen


def _scan(logs: tuple[LogSettings, ...]) -> tuple[list[_Old], Counter[str], list[str]]:
    """Files to delete, how many are kept and why, and what could not be read."""
    opened, now = _open_files(), time.time()
    found: dict[tuple[int, int], _Old] = {}
    kept: Counter[str] = Counter()
    unreadable: list[str] = []
    for settings in logs:
        for directory, name, path in _walk(settings, unreadable):
            status = _status(directory, name)
            reason = "gone" if status is None else _reason_to_keep(status, settings, opened, now)
            if reason:
                kept[reason] += 1
            elif status is not None:
                found[status.st_dev, status.st_ino] = _Old(
                    path, status.st_ino, status.st_mtime_ns, status.st_blocks * 512
                )
    return list(found.values()), kept, unreadable


def _delete(logs: tuple[LogSettings, ...], doomed: dict[str, _Old]) -> LogsDeleted:
    opened, now = _open_files(), time.time()
    files = freed = kept = 0
    for settings in logs:
        for directory, name, path in _walk(settings, []):
            old, status = doomed.get(path), _status(directory, name)
            if old is None or status is None:
                continue
            same = (status.st_ino, status.st_mtime_ns) == (old.inode, old.modified_ns)
            if not same or _reason_to_keep(status, settings, opened, now):
                kept += 1
                continue
            # Whoever swaps the name now may delete in this directory anyway; unlink itself follows no link.
            os.unlink(name, dir_fd=directory)
            files, freed = files + 1, freed + status.st_blocks * 512
    return LogsDeleted(files=files, freed_bytes=freed, kept=kept)


def _reason_to_keep(
    status: os.stat_result, settings: LogSettings, opened: frozenset[tuple[int, int]], now: float
) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    if now - status.st_mtime < settings.older_than:
        return "too young"
    if status.st_nlink > 1:
        return "has another name"
    return "open" if (status.st_dev, status.st_ino) in opened else ""


class _Walk(msgspec.Struct, frozen=True):
    """One walk through a configured directory."""

    settings: LogSettings
    device: int
    unreadable: list[str]


def _walk(settings: LogSettings, unreadable: list[str]) -> Iterator[tuple[int, str, str]]:
    """Open directory, name in it and whole path of all files that the patterns match."""
    with _opened(settings.directory, None, unreadable, settings.directory) as root:
        if root is not None:
            walk = _Walk(settings, os.fstat(root).st_dev, unreadable)
            yield from _below(walk, root, settings.directory.rstrip("/"), 0)


def _below(walk: _Walk, directory: int, path: str, depth: int) -> Iterator[tuple[int, str, str]]:
    for name in sorted(os.listdir(directory)):
        here, status = f"{path}/{name}", _status(directory, name)
        if status is None or status.st_dev != walk.device:
            continue
        if stat.S_ISDIR(status.st_mode):
            if depth < _DEEPEST:
                with _opened(name, directory, walk.unreadable, here) as inner:
                    if inner is not None and os.fstat(inner).st_dev == walk.device:
                        yield from _below(walk, inner, here, depth + 1)
        elif any(fnmatchcase(name, pattern) for pattern in walk.settings.files):
            yield directory, name, here


@contextmanager
def _opened(name: str, directory: int | None, unreadable: list[str], path: str) -> Iterator[int | None]:
    """The directory, or None when it is gone, a link, or may not be read."""
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=directory)
    except OSError as error:
        unreadable.append(f"{path}: {error.strerror}")
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _status(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None


def _open_files() -> frozenset[tuple[int, int]]:
    """Device and inode of every file that a visible process has open.

    Processes of other users are hidden from a user that is not root; what they have open is deleted only if nobody
    has written to it for as long as `older_than` says.
    """
    found: set[tuple[int, int]] = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - over all processes; Path objects cost more
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - as above
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                status = os.stat(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH116 - as above
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                found.add((status.st_dev, status.st_ino))
    return frozenset(found)

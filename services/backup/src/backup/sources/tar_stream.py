"""A tree of files as a tar archive that is never whole anywhere: in memory is one piece of one file.

Written by hand around `tarfile.TarInfo`, because `TarFile` keeps every member that it has seen. The format is pax with
GNU's sparse files (1.0): `tar -x` restores links, holes, times to the nanosecond, owners, and names that are not UTF-8.
"""

# ruff: noqa: PTH115 - paths come by the million, and stay the text that they are

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Final

from backup.sources.tree_tally import OWNERS
from backup.sources.tree_walk import Found, Warnings, walk

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from backup.sources.tree_tally import Tally

_PIECE: Final = 256 << 10
_BLOCK: Final = tarfile.BLOCKSIZE
_ZEROS: Final = bytes(_PIECE)
_MOST_SEGMENTS: Final = 100_000
_NANO: Final = 10**9
_KINDS: Final = (
    (stat.S_ISREG, tarfile.REGTYPE),
    (stat.S_ISDIR, tarfile.DIRTYPE),
    (stat.S_ISLNK, tarfile.SYMTYPE),
    (stat.S_ISFIFO, tarfile.FIFOTYPE),
    (stat.S_ISCHR, tarfile.CHRTYPE),
    (stat.S_ISBLK, tarfile.BLKTYPE),
)


def tar_stream(root: str, excluded: tuple[str, ...], tally: Tally, warnings: Warnings) -> Iterator[bytes]:
    """The archive, piece by piece; blocks.

    A file that changes while it is read is stored as it was seen, and said so. `tally` counts what is stored.

    Raises:
        OSError: Something is there and cannot be read.
    """
    links: dict[tuple[int, int], str] = {}
    for found in walk(root, excluded, warnings):
        kind = next((kind for test, kind in _KINDS if test(found.status.st_mode)), None)
        if kind is None:
            warnings.add(found.name, "is a socket and was left out")
            continue
        inode = (found.status.st_dev, found.status.st_ino)
        if kind == tarfile.REGTYPE and found.status.st_nlink > 1 and inode in links:
            yield _linked(found, links[inode], tally)
        elif kind == tarfile.REGTYPE:
            stored = yield from _file(found, tally, warnings)
            if stored and found.status.st_nlink > 1:
                links[inode] = found.name
        else:
            yield from _other(found, kind, tally, warnings)
    yield bytes(2 * _BLOCK)


def _linked(found: Found, first: str, tally: Tally) -> bytes:
    info = _info(found, tarfile.LNKTYPE, found.status)
    info.linkname = first
    tally.add("hard links", found.name, first)
    return _header(info)


def _other(found: Found, kind: bytes, tally: Tally, warnings: Warnings) -> Iterator[bytes]:
    info = _info(found, kind, found.status)
    facts: tuple[object, ...] = (stat.S_IMODE(found.status.st_mode), found.status.st_mtime_ns)
    if kind == tarfile.SYMTYPE:
        try:
            info.linkname = os.readlink(found.path)
        except FileNotFoundError:
            warnings.add(found.name, "disappeared while the tree was read")
            return
        facts = (info.linkname, found.status.st_mtime_ns)
    elif kind in {tarfile.CHRTYPE, tarfile.BLKTYPE}:
        info.devmajor, info.devminor = os.major(found.status.st_rdev), os.minor(found.status.st_rdev)
        facts = (*facts, found.status.st_rdev)
    names = {tarfile.DIRTYPE: "directories", tarfile.SYMTYPE: "symbolic links"}
    tally.add(names.get(kind, "special files"), found.name, *facts)
    _count_owner(found, found.status, tally)
    yield _header(info)


def _file(found: Found, tally: Tally, warnings: Warnings) -> Generator[bytes, None, bool]:
    try:
        descriptor = os.open(found.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno not in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:
            raise
        warnings.add(found.name, "disappeared while the tree was read")
        return False
    try:
        status = os.fstat(descriptor)
        yield from _content(descriptor, found, status, tally)
        after = os.fstat(descriptor)
        if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            warnings.add(found.name, "changed while it was read")
    finally:
        os.close(descriptor)
    return True


def _content(descriptor: int, found: Found, status: os.stat_result, tally: Tally) -> Iterator[bytes]:
    info = _info(found, tarfile.REGTYPE, status)
    segments = _segments(descriptor, status)
    prefix = b""
    if segments is not None:
        prefix = _sparse_map(segments)
        info.pax_headers = {
            **info.pax_headers,
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": found.name,
            "GNU.sparse.realsize": str(status.st_size),
        }
        directory, _, base = found.name.rpartition("/")
        info.name = f"{directory or '.'}/GNUSparseFile.0/{base}"
    extents = [(0, status.st_size)] if segments is None else segments
    info.size = len(prefix) + sum(length for _, length in extents)
    yield _header(info) + prefix
    digest = hashlib.sha256()
    position = 0
    for start, length in extents:
        _hash_hole(digest, start - position)
        for piece in _read(descriptor, start, length):
            digest.update(piece)
            yield piece
        position = start + length
    _hash_hole(digest, status.st_size - position)
    yield bytes(-info.size % _BLOCK)
    facts = (stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_size, digest.hexdigest())
    tally.add("files", found.name, *facts)
    _count_owner(found, status, tally)


def _count_owner(found: Found, status: os.stat_result, tally: Tally) -> None:
    tally.add(OWNERS, found.name, status.st_uid, status.st_gid)


def _info(found: Found, kind: bytes, status: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo(found.name)
    info.type = kind
    info.mode = stat.S_IMODE(status.st_mode)
    info.uid, info.gid = status.st_uid, status.st_gid
    info.mtime = status.st_mtime_ns // _NANO
    info.pax_headers = {"mtime": decimal(status.st_mtime_ns)}
    return info


def decimal(nanoseconds: int) -> str:
    """Seconds with all digits, as pax writes times."""
    sign = "-" if nanoseconds < 0 else ""
    return f"{sign}{abs(nanoseconds) // _NANO}.{abs(nanoseconds) % _NANO:09d}"


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _segments(descriptor: int, status: os.stat_result) -> list[tuple[int, int]] | None:
    """Where a file has data; None for one without holes, or with more pieces than are worth a map."""
    if status.st_blocks * 512 >= status.st_size:
        return None
    segments: list[tuple[int, int]] = []
    position = 0
    while position < status.st_size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno != errno.ENXIO:  # ENXIO: nothing but a hole from here on
                return None
            break
        position = min(os.lseek(descriptor, start, os.SEEK_HOLE), status.st_size)
        if start < position:
            segments.append((start, position - start))
        if len(segments) > _MOST_SEGMENTS:
            return None
    return None if segments == [(0, status.st_size)] else [*segments, (status.st_size, 0)]


def _sparse_map(segments: list[tuple[int, int]]) -> bytes:
    numbers = [len(segments), *(number for segment in segments for number in segment)]
    text = "".join(f"{number}\n" for number in numbers).encode("ascii")
    return text + bytes(-len(text) % _BLOCK)


def _read(descriptor: int, start: int, length: int) -> Iterator[bytes]:
    """Exactly `length` bytes: the header has promised them; what a file has lost meanwhile is zeros."""
    end = start + length
    while start < end:
        piece = os.pread(descriptor, min(_PIECE, end - start), start) or bytes(min(_PIECE, end - start))
        yield piece
        start += len(piece)


def _hash_hole(digest: hashlib._Hash, length: int) -> None:
    while length > 0:
        digest.update(_ZEROS[: min(length, _PIECE)])
        length -= _PIECE

"""Compares a restored data directory with the `backup_manifest` that the server wrote: every file, by SHA-256.

As pg_verifybackup does, but reading the list of files line by line: a large cluster's does not fit into memory.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.events.backup import VerificationStage

from backup.errors import DamagedError
from backup.sources.base_manifest import END_BYTES, NAME, BaseFacts, base_facts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALGORITHM: Final = "SHA256"
_FILE: Final = (b'{ "Path"', b'{ "Encoded-Path"')
_LAST: Final = b'"Manifest-Checksum"'
_TOGETHER: Final = 256
_READERS: Final = 2


class _Line(msgspec.Struct, frozen=True, rename="pascal"):
    size: int
    path: str = ""
    encoded_path: str = msgspec.field(default="", name="Encoded-Path")
    algorithm: str = msgspec.field(default="", name="Checksum-Algorithm")
    checksum: str = ""


_line = msgspec.json.Decoder(_Line)


def check_base(directory: Path) -> BaseFacts:
    """Read every file that the manifest lists; blocks.

    Raises:
        DamagedError: The manifest is not whole, or a file is not as it says; names it.
    """
    found = manifest_facts(directory)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="check-base") as readers:
        entries = _entries(directory, found.checksum)
        while batch := list(itertools.islice(entries, _TOGETHER)):
            list(readers.map(lambda entry: _check(directory, entry), batch))
    return found


def manifest_facts(directory: Path) -> BaseFacts:
    """What the manifest in a data directory says in short; blocks.

    Raises:
        DamagedError: There is none, or it is cut off.
    """
    end, lines = b"", 0
    try:
        with (directory / NAME).open("rb") as file:
            while piece := file.read(1 << 20):
                lines += piece.count(b"\n")
                end = (end + piece)[-END_BYTES:]
    except FileNotFoundError:
        pass
    return base_facts(end, lines)


def _entries(directory: Path, checksum: str) -> Iterator[_Line]:
    """The files of the manifest, whose own checksum is compared on the way."""
    digest = hashlib.sha256()
    with (directory / NAME).open("rb") as manifest:
        for line in manifest:
            if line.startswith(_LAST):
                break
            digest.update(line)
            if line.startswith(_FILE):
                yield _decoded(line)
    if digest.hexdigest() != checksum:
        raise _differs(NAME, "its own checksum is another one")


def _decoded(line: bytes) -> _Line:
    try:
        entry = _line.decode(line.rstrip(b",\n"))
    except msgspec.MsgspecError:
        raise _differs(NAME, "a line cannot be read") from None
    if entry.algorithm != ALGORITHM:
        raise _differs(NAME, f"checksums are {entry.algorithm or 'missing'}, expected {ALGORITHM}")
    return entry


def _check(directory: Path, entry: _Line) -> None:
    name = os.fsdecode(bytes.fromhex(entry.encoded_path)) if entry.encoded_path else entry.path
    try:
        with (directory / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except FileNotFoundError:
        raise _differs(name, "it is missing") from None
    if (size, found) != (entry.size, entry.checksum):
        raise _differs(name, f"found {size} bytes with SHA-256 {found}, expected {entry.size} with {entry.checksum}")


def _differs(name: str, how: str) -> DamagedError:
    return DamagedError(
        f"file {name[:200]!r} of the restored cluster is not the one of the base backup: {how}",
        advice="Restore from another backup, and look at the disk that this one was restored to.",
        stage=VerificationStage.RESTORE,
    )

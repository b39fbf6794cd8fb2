"""What PostgreSQL itself writes down about a base backup: its `backup_manifest`, whose end says all that we need."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from yaoki.events.backup import VerificationStage

from backup.errors import DamagedError
from backup.manifest import Content

NAME: Final = "backup_manifest"
LABEL: Final = "backup_label"
END_BYTES: Final = 16 << 10
"""Enough for the ranges of WAL and the checksum, behind the list of files."""

FILES: Final = "files"
_CHECKSUM: Final = re.compile(rb'"Manifest-Checksum":\s*"([0-9a-f]{64})"')
_RANGE: Final = re.compile(
    rb'"Timeline":\s*(\d+),\s*"Start-LSN":\s*"([0-9A-F]+/[0-9A-F]+)",\s*"End-LSN":\s*"([0-9A-F]+/[0-9A-F]+)"'
)


class BaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A base backup in short.

    Attributes:
        timeline: At the end of the backup.
        start_lsn: Replay has to begin here, e.g. `0/2000028`.
        stop_lsn: Replay has to reach this before the data is consistent.
        checksum: SHA-256 of the manifest, which holds a checksum of every file.
        lines: Of the manifest; it has one for each file.
    """

    timeline: int
    start_lsn: str
    stop_lsn: str
    checksum: str
    lines: int

    @property
    def contents(self) -> tuple[Content, ...]:
        """As they are recorded and compared: the manifest stands for every file."""
        return (Content(name=FILES, rows=self.lines, fingerprint=self.checksum),)


def base_facts(end: bytes, lines: int) -> BaseFacts:
    """From the end of a `backup_manifest`.

    Raises:
        DamagedError: It is cut off or none; stage structure.
    """
    ranges = _RANGE.findall(end)
    checksum = _CHECKSUM.search(end)
    if not ranges or checksum is None:
        raise DamagedError(
            f"the base backup has no complete {NAME}",
            advice="Take a new backup with the server's own version of pg_basebackup.",
            stage=VerificationStage.STRUCTURE,
        )
    return BaseFacts(
        timeline=max(int(timeline) for timeline, _, _ in ranges),
        start_lsn=ranges[0][1].decode(),
        stop_lsn=ranges[-1][2].decode(),
        checksum=checksum[1].decode(),
        lines=lines,
    )

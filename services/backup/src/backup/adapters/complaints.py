"""What a child's complaint means, in our words: its own may carry rows of a table, and rows are nobody's business."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec
from yaoki.events.backup import BackupFailureClass

from backup.errors import SourceFailedError


class _Known(msgspec.Struct, frozen=True):
    pattern: str
    failure: BackupFailureClass
    sentence: str
    advice: str


_KNOWN: Final = (
    _Known(
        r"password authentication failed|no password supplied|pg_hba\.conf|NOAUTH|WRONGPASS"
        r"|role \"[^\"]*\" does not exist",
        BackupFailureClass.AUTHENTICATION,
        "the server refused the login",
        "Check user, password and the server's access rules.",
    ),
    _Known(
        r"permission denied|must be superuser|must be owner|row-level security|Operation not permitted",
        BackupFailureClass.AUTHENTICATION,
        "a permission is missing",
        "Give the backup's user the right to read everything (for PostgreSQL: pg_read_all_data and BYPASSRLS).",
    ),
    _Known(
        r"Connection refused|could not connect|Connection reset|server closed the connection"
        r"|connection to server .* failed|terminating connection|could not translate host name",
        BackupFailureClass.CONNECTION,
        "the server could not be reached, or the connection broke",
        "Look whether the server is up and reachable from here.",
    ),
    _Known(
        r"No space left on device|could not extend file|[Dd]isk quota exceeded|Cannot allocate memory|out of memory",
        BackupFailureClass.CAPACITY,
        "there is no room left",
        "Make room on the machine that the program worked on.",
    ),
    _Known(
        r"server version mismatch",
        BackupFailureClass.SOURCE,
        "the server is newer than the program",
        "Set the binaries to those of the server's major version or a later one.",
    ),
    _Known(
        r"lock timeout|could not obtain lock|canceling statement due to lock timeout",
        BackupFailureClass.SOURCE,
        "a lock of somebody else stood in the way",
        "Look for a long migration, and take the backup when it is over.",
    ),
    _Known(
        r"No such file or directory|ENOENT",
        BackupFailureClass.SOURCE,
        "a program or file is not there",
        "Set the binaries to the directory of the programs.",
    ),
    _Known(
        r"already exists",
        BackupFailureClass.VERIFICATION,
        "something of this name is there already",
        "Restore into an empty place.",
    ),
)


def explained(program: str, status: int | None, complaint: bytes) -> SourceFailedError:
    """The error for a child that failed.

    Args:
        program: Its path.
        status: How it ended; negative for a signal; None when it could not be started.
        complaint: The end of what it wrote to standard error; only looked at, never passed on.
    """
    text = complaint.decode("utf-8", "replace")
    name = Path(program).name
    ended = "could not be started" if status is None else f"ended with status {status}"
    if status is not None and status < 0:
        ended = f"was killed by signal {-status}"
    for known in _KNOWN:
        if re.search(known.pattern, text):
            return SourceFailedError(f"{name} {ended}: {known.sentence}", advice=known.advice, failure=known.failure)
    return SourceFailedError(
        f"{name} {ended}", advice=f"Run {name} by hand with the same user to see what it says.", failure=None
    )

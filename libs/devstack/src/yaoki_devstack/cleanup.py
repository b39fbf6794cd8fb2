"""Remove a server's directory with everything that the server left outside it."""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import subprocess
from pathlib import Path

LEFTOVERS_FILE = "leftovers"
"""A file of this name in a server's directory lists, one a line, paths elsewhere that go with it."""

_IPC_RMID = 0
_SHARED_MEMORY_LINE = 6


def remove_directory(directory: Path) -> None:
    """Remove `directory`, mounts below it, listed left-overs, and shared memory of killed PostgreSQL servers.

    Never raises: what cannot be removed is left, since this also runs where nobody reads an error.
    """
    for listing in directory.rglob(LEFTOVERS_FILE):
        with contextlib.suppress(OSError):
            for path in listing.read_text(encoding="utf-8").splitlines():
                Path(path).unlink(missing_ok=True)
    for pid_file in directory.rglob("postmaster.pid"):
        remove_shared_memory(pid_file)
    _unmount_below(directory)
    shutil.rmtree(directory, ignore_errors=True)


def _unmount_below(directory: Path) -> None:
    with contextlib.suppress(OSError):
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
        for mount in sorted((m for m in mounts if Path(m).is_relative_to(directory)), reverse=True):
            command = ["umount", "-l", mount]
            subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - a mount of ours


def remove_shared_memory(pid_file: Path) -> None:
    """Free the System V segment named in a dead postmaster's pid file: its interlock, which outlives a SIGKILL."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        _key, segment = pid_file.read_text(encoding="utf-8").splitlines()[_SHARED_MEMORY_LINE].split()
        ctypes.CDLL(None).shmctl(int(segment), _IPC_RMID, None)

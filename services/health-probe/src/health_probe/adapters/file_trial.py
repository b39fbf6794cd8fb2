"""What touches a file system that may hang, as a program of its own that can be left behind.

A process that waits for a lost NFS server cannot be interrupted, not even by SIGKILL; a thread in that state would
keep its whole process from ending. So the prober only ever starts this file, and needs it to import nothing but
the standard library. One JSON object on standard output, exit status 0, also for a file system that fails.

    file_trial.py write DIRECTORY           create, write, fsync, read back, delete; then as `space`
    file_trial.py space DIRECTORY           space and inodes
    file_trial.py newest DIRECTORY SUFFIX   the newest file below it whose name ends so
"""

from __future__ import annotations

import json
import os
import sys

_BYTES = 4096
_MOST_FILES = 200_000

Report = dict[str, "str | int | float | None"]


class _FailedError(Exception):
    def __init__(self, phase: str, code: int, reason: str) -> None:
        super().__init__(reason)
        self.report: Report = {"phase": phase, "errno": code, "reason": reason}


def _write(directory: str) -> Report:
    path = os.path.join(directory, f".yaoki-probe-{os.getpid()}-{os.urandom(4).hex()}")  # noqa: PTH118 - no pathlib: it triples the start
    phase = "create"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # From here on nothing is left behind, whenever this process is killed.
            phase = "delete"
            os.unlink(path)  # noqa: PTH108 - as above
            phase = "write"
            wanted = os.urandom(_BYTES)
            os.write(file, wanted)
            phase = "fsync"
            os.fsync(file)
            phase = "read"
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            intact = os.pread(file, _BYTES, 0) == wanted
        finally:
            os.close(file)
    except OSError as exc:
        raise _FailedError(phase, exc.errno or 0, exc.strerror or "") from exc
    if not intact:
        raise _FailedError("read", 0, "other bytes came back than were written")
    return _space(directory)


def _space(directory: str) -> Report:
    try:
        usage = os.statvfs(directory)
    except OSError as exc:
        raise _FailedError("space", exc.errno or 0, exc.strerror or "") from exc
    used = usage.f_blocks - usage.f_bfree
    usable = used + usage.f_bavail
    # A file system may have no fixed number of inodes and then reports 0.
    inodes = 100.0 * (usage.f_files - usage.f_ffree) / usage.f_files if usage.f_files else 0.0
    return {
        "free_bytes": usage.f_bavail * usage.f_frsize,
        "used_percent": 100.0 * used / usable if usable else 100.0,
        "inodes_used_percent": inodes,
    }


def _newest(directory: str, suffix: str) -> Report:
    newest: Report = {"name": None, "at": None}
    seen, at = 0, float("-inf")

    def fail(exc: OSError) -> None:
        raise _FailedError("list", exc.errno or 0, exc.strerror or "") from exc

    for where, _, names in os.walk(directory, onerror=fail):
        for name in names:
            seen += 1
            if seen > _MOST_FILES:
                raise _FailedError("list", 0, f"more than {_MOST_FILES} files")
            if name.endswith(suffix):
                path = os.path.join(where, name)  # noqa: PTH118 - as above
                modified = os.stat(path).st_mtime  # noqa: PTH116 - as above
                if modified > at:
                    at = modified
                    newest = {"name": os.path.relpath(path, directory), "at": modified}
    return newest


def main(arguments: list[str]) -> Report:
    """Run one trial; see the module."""
    trial, *rest = arguments
    try:
        match trial:
            case "write":
                return _write(*rest)
            case "space":
                return _space(*rest)
            case _:
                return _newest(*rest)
    except _FailedError as exc:
        return exc.report


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1:])))

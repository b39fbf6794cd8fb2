"""Whether a data directory can be exchanged for a clone, which is done by renaming."""

from __future__ import annotations

import re
from pathlib import Path

from yaoki.errors import RejectedError

_MOUNTS = Path("/proc/self/mountinfo")
_PATH = 4  # after the ids of the mount and its parent, the device, and the root within it
_ESCAPE = re.compile(r"\\([0-7]{3})")


def mount_points(mountinfo: str) -> frozenset[str]:
    """The paths of all mounts, as `/proc/<pid>/mountinfo` lists them; bind mounts are among them."""
    rows = (line.split(" ") for line in mountinfo.splitlines())
    paths = (row[_PATH] for row in rows if len(row) > _PATH)
    return frozenset(_ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), path) for path in paths)


def require_exchangeable(data_directory: Path) -> None:
    """Refuse a data directory that is itself a mount point: it cannot be renamed, so no clone could take its place.

    Raises:
        RejectedError: It is one.
    """
    real = data_directory.resolve()
    if str(real) in mount_points(_MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")):
        raise RejectedError(
            f"data_directory {data_directory} is a mount point, which cannot be renamed: a clone could never take its "
            f"place. Mount the volume on its parent, or give a directory inside of it, such as {real / 'data'}"
        )

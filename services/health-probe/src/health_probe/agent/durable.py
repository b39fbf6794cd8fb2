"""Small state files that survive a crash, and the clock that survives a suspend. Standard library only."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Identity of this boot of the kernel; a CLOCK_BOOTTIME of another boot says nothing."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


def boottime() -> float:
    """Seconds since boot, the time in suspend included. The only clock that deadlines are written in."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` by `state` as JSON; on return it is on the disk, name included.

    Raises:
        OSError: It is not certain that the new state is stored; the old or the new one is there.
    """
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def read_state(path: Path) -> dict[str, Any] | None:
    """The state last written; None when none ever was.

    Raises:
        ValueError: The file is there and is no JSON object. The caller must take the worse case.
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds no JSON object; remove it only when no server of this directory runs")  # noqa: TRY004 - one exception for unreadable
    return state


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A disk small enough to fill, on which a full disk is a real ENOSPC.

Two ways, tried in this order:

- root (with CAP_SYS_ADMIN): a tmpfs mounted in a temporary directory, seen by every process;
- an ordinary user: a tmpfs in a user and mount namespace of its own, kept by a sleeping process and reached
  through
  `/proc/<pid>/root`. Only processes of the same user see it, which those of the test are; it needs
  unprivileged user namespaces (`kernel.unprivileged_userns_clone`, and no AppArmor rule against them).

RLIMIT_FSIZE is no substitute: it limits single files and yields EFBIG.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from yaoki_devstack.errors import CommandFailedError, UnavailableHereError
from yaoki_devstack.process import run, spawn
from yaoki_devstack.server import remove_temporary, temporary_directory
from yaoki_devstack.waiting import until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator

_HOLDER_SECONDS = 5.0
_CHUNK = 1 << 20
_READY = "mounted"
_HOLD = 'mount -t tmpfs -o "$1" yaoki-disk "$2" && echo ' + _READY + " && exec sleep infinity"


@dataclass(frozen=True, kw_only=True)
class SmallDisk:
    """A file system of limited size.

    Attributes:
        path: its root, writable by the caller.
        kind: how it was made; see the module.
    """

    path: Path
    kind: Literal["mount", "namespace"]

    def free_bytes(self) -> int:
        """Return how much can still be written."""
        usage = os.statvfs(self.path)
        return usage.f_bavail * usage.f_frsize

    def fill(self, *, leave: int = 0) -> None:
        """Occupy all space but `leave` bytes with a file; blocking."""
        with self._ballast.open("ab") as ballast:
            while (rest := self.free_bytes() - leave) > 0:
                ballast.write(bytes(min(rest, _CHUNK)))
                ballast.flush()

    def empty(self) -> None:
        """Free what `fill` has occupied."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"


@asynccontextmanager
async def small_disk(size_bytes: int) -> AsyncIterator[SmallDisk]:
    """Provide a disk of `size_bytes`, gone afterwards; servers on it must be stopped before that.

    Raises:
        UnavailableHereError: neither mounts nor user namespaces are permitted.
    """
    directory = temporary_directory("disk")
    point = directory / "disk"
    point.mkdir()
    options = f"size={size_bytes},mode=755"
    try:
        if await _mounted(point, options):
            yield SmallDisk(path=point, kind="mount")
        else:
            async with _namespace(directory, point, options) as path:
                yield SmallDisk(path=path, kind="namespace")
    finally:
        await asyncio.to_thread(remove_temporary, directory)


async def _mounted(point: Path, options: str) -> bool:
    if os.geteuid() != 0:
        return False
    try:
        await run(["mount", "-t", "tmpfs", "-o", options, "yaoki-disk", point])
    except CommandFailedError:  # root without the capability, as in most containers
        return False
    return True


@asynccontextmanager
async def _namespace(directory: Path, point: Path, options: str) -> AsyncIterator[Path]:
    log_file = directory / "holder.log"
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        _HOLD,
        "sh",
        options,
        str(point),
    ]
    holder = spawn(command, cwd=directory, log_file=log_file)
    try:
        await _wait_mounted(holder, log_file)
        yield Path(f"/proc/{holder.pid}/root") / point.relative_to("/")
    finally:
        with contextlib.suppress(ProcessLookupError):
            holder.kill()
        await asyncio.to_thread(holder.wait)


async def _wait_mounted(holder: subprocess.Popen[bytes], log_file: Path) -> None:
    async def settled() -> bool:
        return holder.poll() is not None or _READY in _text(log_file)

    await until(settled, within=_HOLDER_SECONDS)
    if _READY not in (text := _text(log_file)):
        raise UnavailableHereError(
            "a small disk needs root with CAP_SYS_ADMIN or unprivileged user namespaces "
            f"(sysctl kernel.unprivileged_userns_clone=1), and this user has neither: {text.strip()}"
        )


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")

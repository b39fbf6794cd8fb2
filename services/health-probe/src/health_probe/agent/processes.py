"""Every process that works in a data directory: found, frozen, killed, proven gone. Standard library only.

The postmaster and all its children change into the data directory and stay there, whoever started them and
whatever became of their parent, so the working directory finds orphaned backends too. Comparison is by device and
inode. All programs count: proof that nobody is left must not depend on how a program is called.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_POLL_S = 0.005
_STABLE_SCANS = 2
_GONE_OR_STOPPED = frozenset("TtZXx")


def working_in(directory: Path) -> frozenset[int]:
    """Pids of the living processes whose working directory is `directory`; without the caller's own.

    Processes of other users are invisible to an ordinary user. PostgreSQL refuses a data directory that it does
    not own, so an agent that runs as the owner, or as root, sees every process that can write there.
    """
    try:
        here = directory.stat()
    except FileNotFoundError:
        return frozenset()
    found = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - ten times a second over all processes; Path objects cost more
        if name.isdigit() and _works_in(name, here):
            found.add(int(name))
    return frozenset(found - {os.getpid()})


def _works_in(pid: str, here: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/cwd"), here)  # noqa: PTH116 - as in `working_in`
    except OSError:  # gone, a zombie, or not ours
        return False


def postmaster_of(directory: Path) -> int | None:
    """Pid in `postmaster.pid` if that process lives and works in `directory`; orphans have no postmaster."""
    try:
        pid = int((directory / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])
        here = directory.stat()
    except (FileNotFoundError, ValueError):
        return None
    return pid if _works_in(str(pid), here) else None


def send(pids: Iterable[int], directory: Path, signum: signal.Signals) -> None:
    """Signal those of `pids` that still work in `directory`.

    The check is made after the process is held by a pidfd, so a pid that has been given to another program in the
    meantime is never hit.
    """
    try:
        here = directory.stat()
    except FileNotFoundError:
        return
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                if _works_in(str(pid), here):
                    signal.pidfd_send_signal(descriptor, signum)
            finally:
                os.close(descriptor)


def freeze(directory: Path, *, within: float) -> bool:
    """SIGSTOP every process of `directory` until no new one appears; False when `within` seconds were too short.

    A process that still runs may fork while its siblings are being stopped: only a tree that stands still can be
    killed without a survivor.
    """
    deadline = time.monotonic() + within
    before: frozenset[int] = frozenset()
    stable = 0
    while time.monotonic() < deadline:
        pids = working_in(directory)
        awake = [pid for pid in pids if not _stands_still(pid)]
        send(awake, directory, signal.SIGSTOP)
        stable = stable + 1 if not awake and pids == before else 0
        if stable >= _STABLE_SCANS or not pids:
            return True
        before = pids
        time.sleep(_POLL_S / 5)
    return False


def _stands_still(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as in `working_in`
            state = file.read().rpartition(b")")[2].split()[0]
    except OSError:
        return True
    return state.decode() in _GONE_OR_STOPPED


def kill_all(directory: Path, *, within: float = 10.0) -> frozenset[int]:
    """Kill every process of `directory`; return those that are left, which is the proof when it is empty.

    A tree that cannot be frozen in time is killed all the same, again and again. Blocking.
    """
    deadline = time.monotonic() + within
    freeze(directory, within=min(1.0, within / 2))
    while pids := working_in(directory):
        send(pids, directory, signal.SIGKILL)
        if time.monotonic() > deadline:
            return pids
        time.sleep(_POLL_S)
    return frozenset()


def wait_until_none(directory: Path, *, within: float) -> bool:
    """Wait until no process of `directory` is left; False when `within` seconds were not enough. Blocking."""
    deadline = time.monotonic() + within
    while working_in(directory):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S * 2)
    return True

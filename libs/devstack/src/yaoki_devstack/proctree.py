"""Find the processes of a server by where they work, whoever started them.

A server is started with its data directory as working directory, and PostgreSQL changes into it by itself.
The working directory therefore identifies every process of a server: also orphaned backends of a killed
postmaster, and servers that an agent, not this package, has started. The program name is compared as well, so
that a person's shell inside the directory is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from yaoki_devstack.waiting import POLL_SECONDS, patient, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SERVER_PROGRAMS = frozenset(
    {
        "initdb",
        "nats-server",
        "pg_basebackup",
        "pg_ctl",
        "pg_rewind",
        "postgres",
        "redis-server",
        "weed",
    }
)
"""Programs that this package starts inside directories it owns."""

_DELETED = " (deleted)"


def _program(pid: int) -> str:
    # Not psutil's exe(), which is remembered from the instant between fork and exec.
    return Path(str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(_DELETED)).name


def _is_dead(process: psutil.Process) -> bool:
    try:
        return process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True


def _matching(condition: Callable[[int], bool]) -> Iterator[psutil.Process]:
    """Yield the living processes whose pid fulfils `condition`; those we may not look into do not count."""
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            if pid == os.getpid() or not condition(pid):
                continue
            process = psutil.Process(pid)
            if not _is_dead(process):
                yield process


def working_in(directory: Path, programs: Iterable[str] = SERVER_PROGRAMS) -> list[psutil.Process]:
    """Return the living processes of `programs` whose working directory is exactly `directory`.

    The comparison is by device and inode, so a directory reached through another mount is recognised.
    """
    names = frozenset(programs)
    try:
        here = directory.stat()
    except FileNotFoundError:
        return []

    return list(
        _matching(lambda pid: _program(pid) in names and os.path.samestat(Path(f"/proc/{pid}/cwd").stat(), here))
    )


def working_under(directory: Path, programs: Iterable[str] = SERVER_PROGRAMS) -> list[psutil.Process]:
    """Return the living processes of `programs` that work in `directory` or anywhere below it.

    Works by name, so it also finds processes whose directory is already deleted.
    """
    names = frozenset(programs)

    def condition(pid: int) -> bool:
        if _program(pid) not in names:
            return False
        return Path(str(Path(f"/proc/{pid}/cwd").readlink()).removesuffix(_DELETED)).is_relative_to(directory)

    return list(_matching(condition))


def with_environment(name: str, value: str) -> list[psutil.Process]:
    """Return the living processes that carry `name=value` in their environment, and all their descendants."""
    found: dict[int, psutil.Process] = {}
    entry = f"{name}={value}".encode()
    for process in _matching(lambda pid: entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")):
        found[process.pid] = process
        with contextlib.suppress(psutil.Error):
            found.update({child.pid: child for child in process.children(recursive=True)})
    return [process for pid, process in found.items() if pid != os.getpid()]


def root_of(processes: list[psutil.Process]) -> psutil.Process | None:
    """Return the oldest process whose parent is not among `processes`; None for an empty list."""
    pids = {process.pid for process in processes}
    roots = [process for process in processes if _parent_pid(process) not in pids]
    return min(roots, key=lambda process: (process.create_time(), process.pid), default=None)


def _parent_pid(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def send(processes: Iterable[psutil.Process], signum: signal.Signals) -> None:
    """Send `signum` to each process; those that are gone already are skipped."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signum)


def kill_until_none(find: Callable[[], list[psutil.Process]], *, within: float) -> bool:
    """SIGKILL what `find` returns until it returns nothing; return False if that took over `within` seconds.

    Blocking; for the reaper and for clean-up outside an event loop.
    """
    deadline = time.monotonic() + patient(within)
    while processes := find():
        send(processes, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        psutil.wait_procs(processes, timeout=0.2)
    return True


async def wait_until_none(find: Callable[[], list[psutil.Process]], *, within: float) -> bool:
    """Wait until `find` returns nothing; return False when `within` seconds were not enough."""

    async def none_left() -> bool:
        return not find()

    return await until(none_left, within=within)


async def freeze(find: Callable[[], list[psutil.Process]], *, within: float = 5.0) -> None:
    """SIGSTOP a whole tree, parents first, until every process of it is stopped.

    A parent that still runs may fork while its children are being stopped, hence the repetition.
    """
    deadline = time.monotonic() + patient(within)
    while True:
        awake = [process for process in find() if not _is_stopped(process)]
        if not awake:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {[process.pid for process in awake]} did not stop within {within} s")
        send(sorted(awake, key=lambda process: process.create_time()), signal.SIGSTOP)
        await asyncio.sleep(POLL_SECONDS)


def _is_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True

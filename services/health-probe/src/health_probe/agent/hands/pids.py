"""Processes by number, and the proof that a number still means the same process. Standard library only."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import msgspec

_STATE, _GROUP, _STARTED = 0, 2, 19
"""Fields of /proc/<pid>/stat behind the program's name."""
_POLL_S = 0.02
_DEAD = frozenset({"Z", "X", "x"})


class Process(msgspec.Struct, frozen=True):
    """One process; `started` (clock ticks since boot) tells it from a later one with its number."""

    pid: int
    started: int
    group: int = 0

    @property
    def program(self) -> str:
        """Path of what it executes; empty when it is gone or hidden. A deleted file keeps its path."""
        try:
            return str(Path(f"/proc/{self.pid}/exe").readlink()).removesuffix(" (deleted)")
        except OSError:
            return ""

    @property
    def alive(self) -> bool:
        """It is there, no zombie, and no other process has its number."""
        now = process(self.pid)
        return now is not None and now.started == self.started

    def send(self, number: signal.Signals) -> bool:
        """Signal it; False when it is gone. A process that got its number meanwhile is never hit."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            return True
        finally:
            os.close(descriptor)


def process(pid: int) -> Process | None:
    """The living process with this number; None when there is none, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[_STATE].decode() in _DEAD:
        return None
    return Process(pid, int(fields[_STARTED]), int(fields[_GROUP]))


def all_processes() -> list[Process]:
    """Every living process that this user can see."""
    found = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - once for each process
    return [one for one in found if one is not None]


def group_of(leader: Process) -> list[Process]:
    """The leader and everybody in the process group that it leads."""
    if leader.group != leader.pid:
        return [leader]
    return [one for one in all_processes() if one.group == leader.pid and one.started >= leader.started]


def own_line() -> set[int]:
    """This process and all its ancestors: nobody saws off the branch that he sits on."""
    pids, pid = set(), os.getpid()
    while pid > 0 and pid not in pids:
        pids.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            break
    return pids | {1}


async def end(processes: list[Process], patience_s: float) -> tuple[int, int]:
    """SIGTERM, and SIGKILL to those that do not heed it in time; how many ended by each."""
    asked = [one for one in processes if one.send(signal.SIGTERM)]
    await _gone(asked, patience_s)
    stubborn = [one for one in asked if one.alive]
    killed = sum(one.send(signal.SIGKILL) for one in stubborn)
    await _gone(stubborn, patience_s)
    return len(asked) - len(stubborn), killed


async def _gone(processes: list[Process], within_s: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while any(one.alive for one in processes) and loop.time() < deadline:  # noqa: ASYNC110 - other programs' processes
        await asyncio.sleep(_POLL_S)

"""Restarts a process that is known by its PID file."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.hands import Sight, not_allowed
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

from health_probe.agent.hands.pids import Process, end, group_of, own_line, process
from health_probe.agent.programs import environment

if TYPE_CHECKING:
    from yaoki.config.repairs import ProcessSettings, Repairs
    from yaoki.plans import JsonObject

_POLL_S: Final = 0.05
_LONGEST_PID_FILE: Final = 64
_ROUNDS: Final = 3

_children: Final[list[subprocess.Popen[bytes]]] = []
"""What was started here and shall live on; kept so that its exit status is taken when it ends."""


class ProcessParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name of the process in the configuration."""

    process: str


class ProcessRestarted(msgspec.Struct, frozen=True, kw_only=True):
    """A new process runs.

    Attributes:
        pid: Of the new process.
        ended: Old processes that ended when they were asked to.
        killed: Old processes that had to be killed.
    """

    process: str
    pid: int
    ended: int
    killed: int


class RestartProcess:
    """See `Hand`. A process is itself by number and start time, so a repeat sees that another one runs."""

    name = "process.restart"
    params = ProcessParams

    def __init__(self, repairs: Repairs) -> None:
        self._allowed = repairs.processes

    async def look(self, params: ProcessParams) -> Sight:
        """See `Hand.look`."""
        settings = self._settings(params)
        found = _running(settings)
        if found is None:
            if not settings.start:
                raise PreconditionFailedError(
                    f"{settings.pid_file} names no running process, and there is no command to start one"
                )
            return Sight(would=f"start {params.process}, which does not run")
        others = len(_to_end(settings, found)) - 1
        group = f" with {others} others of its group" if others else ""
        then = "start it again" if settings.start else "wait until its supervisor has started it again"
        return Sight(
            would=f"end process {found.pid} ({found.program}){group} and {then}",
            before={"pid": found.pid, "started": found.started},
        )

    def happened(self, params: ProcessParams, before: JsonObject, now: Sight) -> bool:  # noqa: ARG002 - the port's signature
        """See `Hand.happened`."""
        return bool(now.before) and now.before != before

    async def act(self, params: ProcessParams, seen: Sight, order_id: str) -> ProcessRestarted:  # noqa: ARG002 - as above
        """See `Hand.act`."""
        settings = self._settings(params)
        ended = killed = 0
        found = _running(settings)
        if found is not None and seen.before == {"pid": found.pid, "started": found.started}:
            ended, killed = await _end_all(params, settings, found)
        if settings.start and _running(settings) is None:
            self._start(settings)
        new = await self._new(params, settings, seen)
        return ProcessRestarted(process=params.process, pid=new.pid, ended=ended, killed=killed)

    def _settings(self, params: ProcessParams) -> ProcessSettings:
        settings = self._allowed.get(params.process)
        if settings is None:
            raise not_allowed("process", params.process, self._allowed, "repairs.processes")
        return settings

    def _start(self, settings: ProcessSettings) -> None:
        try:
            child = subprocess.Popen(  # noqa: S603 - the configuration's own command, without a shell
                settings.start,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise ActionFailedError(f"{settings.start[0]} cannot be started: {error.strerror}") from error
        _children.append(child)

    async def _new(self, params: ProcessParams, settings: ProcessSettings, seen: Sight) -> Process:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + settings.started_within
        while loop.time() < deadline:
            _children[:] = [one for one in _children if one.poll() is None]
            found = _running(settings)
            if found is not None and {"pid": found.pid, "started": found.started} != seen.before:
                return found
            await asyncio.sleep(_POLL_S)
        raise ActionFailedError(
            f"no new process of {params.process} stood in {settings.pid_file} within {settings.started_within:g} s"
        )


async def _end_all(params: ProcessParams, settings: ProcessSettings, leader: Process) -> tuple[int, int]:
    """End the process, or its group until nobody is left in it: a member may fork while others are ended."""
    ended = killed = 0
    for _ in range(_ROUNDS):
        doomed = [one for one in _to_end(settings, leader) if one.alive]
        if not doomed:
            return ended, killed
        counts = await end(doomed, settings.patience)
        ended, killed = ended + counts[0], killed + counts[1]
    left = [one.pid for one in _to_end(settings, leader) if one.alive]
    if left:
        raise ActionFailedError(f"processes {left} of {params.process} are still there; look at what starts them")
    return ended, killed


def _running(settings: ProcessSettings) -> Process | None:
    """The process that the PID file names, if it runs the configured program; else nobody."""
    pid = _read_pid(Path(settings.pid_file))
    found = process(pid) if pid else None
    if found is None:
        return None
    if found.pid in own_line():
        raise PreconditionFailedError(f"{settings.pid_file} names the agent itself or an ancestor of it ({found.pid})")
    # Compared by file: a path may lead through links.
    if found.program not in {settings.program, os.path.realpath(settings.program)}:
        if not found.alive:
            return None
        raise PreconditionFailedError(
            f"{settings.pid_file} names process {found.pid}, which runs {found.program or 'something hidden'!r}; "
            f"expected {settings.program!r}"
        )
    return found


def _read_pid(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_PID_FILE).split()
        return int(text[0]) if text else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PreconditionFailedError(f"{path} holds no process number ({type(error).__name__})") from None


def _to_end(settings: ProcessSettings, leader: Process) -> list[Process]:
    return group_of(leader) if settings.group else [leader]

"""File systems from a safe distance: every touch happens in a child that can be left behind."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from yaoki.events.probe import ErrorClass

from health_probe.adapters import file_trial
from health_probe.attempt import ProbeFailedError

if TYPE_CHECKING:
    from health_probe.adapters.children import ChildRunner, Ended
    from health_probe.attempt import Phases

T = TypeVar("T", bound=msgspec.Struct)

_PROGRAM: Final = str(Path(file_trial.__file__).resolve())

_CLASSES: Final = {
    errno.ENOSPC: ErrorClass.CAPACITY,
    errno.EDQUOT: ErrorClass.CAPACITY,
    errno.EACCES: ErrorClass.AUTH,
    errno.EPERM: ErrorClass.AUTH,
    errno.ENOMEM: ErrorClass.LOCAL,
    errno.EMFILE: ErrorClass.LOCAL,
    errno.ENFILE: ErrorClass.LOCAL,
}
"""Every other error (input/output, read-only, missing) is `protocol`."""


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """Room on a file system, as an ordinary user has it."""

    free_bytes: int
    used_percent: float
    inodes_used_percent: float


class Newest(msgspec.Struct, frozen=True, kw_only=True):
    """The newest file; both None when there is none.

    Attributes:
        at: Last modification, Unix seconds.
    """

    name: str | None
    at: float | None


class _Failure(msgspec.Struct, frozen=True, kw_only=True):
    phase: str
    errno: int
    reason: str


async def try_writing(children: ChildRunner, phases: Phases, directory: str) -> Space:
    """Create a file, write, fsync, read back and delete it."""
    return await _trial(children, phases, Space, "write", directory)


async def look_at_space(children: ChildRunner, phases: Phases, directory: str) -> Space:
    """Space and inodes of the file system that holds `directory`."""
    return await _trial(children, phases, Space, "space", directory)


async def find_newest(children: ChildRunner, phases: Phases, directory: str, suffix: str) -> Newest:
    """The newest file anywhere below `directory` whose name ends with `suffix`."""
    return await _trial(children, phases, Newest, "newest", directory, suffix)


async def _trial(children: ChildRunner, phases: Phases, kind: type[T], *arguments: str) -> T:
    async with phases.phase(arguments[0]):
        ended = await children.run([sys.executable, "-I", "-S", _PROGRAM, *arguments], environment=_environment())
    report = _report(ended, kind)
    if isinstance(report, _Failure):
        phases.name = report.phase
        error_class = _CLASSES.get(report.errno, ErrorClass.PROTOCOL)
        raise ProbeFailedError(error_class, f"{arguments[1]}: {report.phase} failed: {report.reason}")
    return report


def _report(ended: Ended, kind: type[T]) -> T | _Failure:
    if ended.status != 0:
        raise ProbeFailedError(ErrorClass.LOCAL, f"the trial itself ended with status {ended.status}")
    try:
        if b'"errno"' in ended.output:
            return msgspec.json.decode(ended.output, type=_Failure)
        return msgspec.json.decode(ended.output, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise ProbeFailedError(ErrorClass.LOCAL, "the trial itself said nothing that can be read") from exc


def _environment() -> dict[str, str]:
    # Where the interpreter is a copy, it finds its libraries through these.
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ}

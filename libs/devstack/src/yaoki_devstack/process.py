"""Start processes and run tools, as another user where needed, without tying them to an event loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING, TypedDict

from typing_extensions import override

from yaoki_devstack.errors import CommandFailedError
from yaoki_devstack.guard import guard
from yaoki_devstack.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from yaoki_devstack.users import Identity

COMMAND_SECONDS = 120.0


class _Outliving(subprocess.Popen[bytes]):
    """A process that shall outlive us: that it lives when nobody refers to it any more is no mistake to warn of."""

    @override
    def __del__(self) -> None:
        self.poll()


_detached: list[_Outliving] = []
"""Kept, so that those that end before us do not stay as zombies."""


def collect_detached() -> None:
    """Take the exit status of detached processes that have ended, so that they do not stay as zombies."""
    _detached[:] = [process for process in _detached if process.poll() is None]


class UserArguments(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that switch the user; empty when there is no switch."""

    user: int
    group: int
    extra_groups: list[int]


def user_arguments(identity: Identity | None) -> UserArguments:
    """Return what to pass to `subprocess.Popen` (also through asyncio) to run as `identity`."""
    if identity is None:
        return {}
    return {"user": identity.uid, "group": identity.gid, "extra_groups": []}


def spawn(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    log_file: Path,
    environment: Mapping[str, str] | None = None,
    identity: Identity | None = None,
    detached: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own with its output appended to `log_file`.

    Unless `detached`, the process and all it starts end with the calling process, also when that is killed.
    """
    marks = {} if detached else guard.owner_environment()
    with log_file.open("ab") as log:
        process = (_Outliving if detached else subprocess.Popen)(
            [os.fspath(part) for part in argv],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {}), **marks},
            start_new_session=True,
            **user_arguments(identity),
        )
    if isinstance(process, _Outliving):
        _detached.append(process)
    return process


async def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    identity: Identity | None = None,
    stdin: str = "",
    within: float = COMMAND_SECONDS,
) -> str:
    """Run a tool to its end and return its standard output.

    Raises:
        CommandFailedError: it ended with another status than 0, or not within `within` seconds.
    """
    return await asyncio.to_thread(
        _run_blocking, argv, cwd=cwd, environment=environment, identity=identity, stdin=stdin, within=within
    )


def _run_blocking(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None,
    environment: Mapping[str, str] | None,
    identity: Identity | None,
    stdin: str,
    within: float,
) -> str:
    command = [os.fspath(part) for part in argv]
    try:
        finished = subprocess.run(  # noqa: S603 - argv is built by this package or by a test
            command,
            cwd=cwd or "/",
            input=stdin,
            capture_output=True,
            text=True,
            env={**os.environ, **(environment or {}), **guard.owner_environment()},
            timeout=patient(within),
            check=False,
            **user_arguments(identity),
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailedError(f"'{command[0]}' did not end within {within} s") from error
    if finished.returncode != 0:
        output = finished.stderr.strip() or finished.stdout
        raise CommandFailedError(f"'{' '.join(command)}' ended with {finished.returncode}: {output}")
    return finished.stdout

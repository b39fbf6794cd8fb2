"""Runs PostgreSQL's programs as the user that the server belongs to, with passwords in files only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
from typing import TYPE_CHECKING, Any

import msgspec
from yaoki.errors import ErrorCode, RejectedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_ERROR_TAIL = 600


class ServerUser(msgspec.Struct, frozen=True):
    """The operating system user of a server; -1 means the agent's own."""

    uid: int = -1
    gid: int = -1

    def arguments(self) -> dict[str, Any]:
        """For `subprocess.Popen` and `asyncio.create_subprocess_exec`."""
        return {} if self.uid < 0 else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path, mode: int) -> None:
        """Give `path` to this user, with `mode`."""
        path.chmod(mode)
        if self.uid >= 0:
            os.chown(path, self.uid, self.gid)


def server_user(name: str | None) -> ServerUser:
    """The user called `name`, for a server that refuses to run as root.

    Raises:
        RejectedError: No such user, or it is root, or the agent is not root and cannot switch.
    """
    if name is None and os.geteuid() == 0:
        raise RejectedError("run_as is missing: PostgreSQL refuses to run as root; name another user")
    user = own_or_named_user(name)
    if user.uid == 0:
        raise RejectedError(f"run_as is {name!r}, which is root; PostgreSQL refuses to run as root")
    return user


def own_or_named_user(name: str | None) -> ServerUser:
    """The user called `name`, or the agent's own. Raises RejectedError as `server_user` does."""
    if name is None:
        return ServerUser()
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise RejectedError(f"run_as is {name!r}, but there is no such user; create it or name another") from None
    if entry.pw_uid == os.geteuid():
        return ServerUser()
    if os.geteuid() != 0:
        raise RejectedError(f"run_as is {name!r}, but only root can start a server as another user; run the agent so")
    return ServerUser(entry.pw_uid, entry.pw_gid)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small environment: nothing of the agent's own, which may hold secrets, reaches the server."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TZ") if name in os.environ}
    return {**kept, "LC_ALL": "C", "PGCONNECT_TIMEOUT": "5", **(extra or {})}


async def run(
    argv: Sequence[str | Path],
    *,
    user: ServerUser,
    timeout_s: float,
    extra: Mapping[str, str] | None = None,
    remarks: bool = False,
) -> str:
    """Run a program to its end and return its standard output, with `remarks` followed by its standard error.

    Raises:
        TransientError: It failed, with the end of what it said, or took longer than `timeout_s` and was killed.
    """
    name = str(argv[0]).rpartition("/")[2]
    process = await asyncio.create_subprocess_exec(
        *(str(part) for part in argv),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(extra),
        cwd="/",
        start_new_session=True,
        **user.arguments(),
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, errors = await process.communicate()
    except TimeoutError as exc:
        raise TransientError(f"{name} was not finished after {timeout_s:.0f} s", code=ErrorCode.TIMEOUT) from exc
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started, too: pg_rewind runs a postgres
            await process.wait()
    if process.returncode:
        said = errors.decode(errors="replace").strip()[-_ERROR_TAIL:]
        raise TransientError(f"{name} ended with {process.returncode}: {said}", code=ErrorCode.FAILED)
    return (output + errors if remarks else output).decode(errors="replace")


class PasswordFile(msgspec.Struct, frozen=True):
    """A libpq password file that only the server's user reads."""

    path: Path

    def write(self, logins: Mapping[str, str], user: ServerUser) -> None:
        """Replace it by one line for each login, for every host and database."""
        temporary = self.path.with_name(f".{self.path.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            for name, password in logins.items():
                file.write(f"*:*:*:{_escaped(name)}:{_escaped(password)}\n")
        user.own(temporary, 0o600)
        temporary.replace(self.path)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(":", "\\:")

"""Runs a PostgreSQL server on a data directory for this process alone: no address, a socket in a closed directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from yaoki.events.backup import BackupFailureClass

from backup.errors import RestoreFailedError, SourceFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from backup.adapters.accounts import Account
    from backup.sources.postgres_server import PostgresServer

START_S: Final = 60.0
_STOP_S: Final = 15.0
_POLL_S: Final = 0.05


@asynccontextmanager
async def running(
    server: PostgresServer,
    data: Path,
    settings: Mapping[str, str],
    account: Account | None,
    *,
    start_s: float = START_S,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server that answers, killed at the end unless it has ended by then.

    Args:
        server: How it is reached: its host is the directory of the socket, where `server.log` is written too.
        data: Its data directory.
        settings: On its command line, which wins over every file; no secrets.
        account: To run as, where this process is root.
        start_s: How long it may take to answer, seconds.

    Raises:
        RestoreFailedError: It does not come up.
    """
    process = await _launch(server, data, {**settings, "unix_socket_directories": server.host}, account)
    try:
        await _ready(server, process, start_s)
        yield process
    finally:
        await _stop(process)


async def _launch(
    server: PostgresServer, data: Path, settings: Mapping[str, str], account: Account | None
) -> asyncio.subprocess.Process:
    user = {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}
    with open(f"{server.host}/server.log", "ab") as log:  # noqa: ASYNC230, PTH123 - a local file, once
        return await asyncio.create_subprocess_exec(
            server.program("postgres"),
            *("-D", str(data)),
            *(f"--{name}={value}" for name, value in settings.items()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"LC_ALL": "C"},
            cwd="/",
            start_new_session=True,
            **user,  # type: ignore[arg-type]  # mypy does not tell the keys of this dictionary apart
        )


async def _ready(server: PostgresServer, process: asyncio.subprocess.Process, start_s: float) -> None:
    try:
        async with asyncio.timeout(start_s):
            while process.returncode is None:
                with contextlib.suppress(SourceFailedError):
                    async with server.connected() as connection:
                        await connection.execute("SELECT 1")
                        return
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        pass
    raise RestoreFailedError(
        f"the throw-away server did not come up within {start_s:.0f} s",
        advice="Look whether this machine has memory and disk for it, and whether the binaries fit together.",
        failure=BackupFailureClass.CAPACITY,
    )


async def _stop(process: asyncio.subprocess.Process) -> None:
    """The whole group is ended at once; whoever wants a clean end has brought it about before."""
    for number in (signal.SIGQUIT, signal.SIGKILL):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number) if number is signal.SIGKILL else process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_S)

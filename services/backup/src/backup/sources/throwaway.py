"""A PostgreSQL server that lives for one rehearsal: reachable by its own socket only, gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yaoki.events.backup import BackupFailureClass

from backup.adapters.children import run
from backup.errors import RestoreFailedError, SourceFailedError, as_restore
from backup.sources.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backup.adapters.accounts import Account

_USER: Final = "yaoki"
_START_S: Final = 60.0
_STOP_S: Final = 15.0
_POLL_S: Final = 0.05
_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "20",
    "shared_buffers": "32MB",
    "maintenance_work_mem": "128MB",
    "dynamic_shared_memory_type": "mmap",
    # Nothing of it is kept, so nothing has to survive a crash.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "archive_mode": "off",
    "autovacuum": "off",
}


@asynccontextmanager
async def throwaway_server(
    *, binaries: str, account: Account | None, directory: Path | None = None
) -> AsyncIterator[PostgresServer]:
    """An empty server.

    Args:
        binaries: Directory of initdb and postgres.
        account: To run as, where this process is root.
        directory: Where it may put its data; the system's temporary directory when None.

    Raises:
        RestoreFailedError: It does not start.
    """
    home = await asyncio.to_thread(_home, directory, account)
    server = PostgresServer(host=str(home), user=_USER, database="postgres", tls="disable", binaries=binaries)
    try:
        await _initialise(server, home, account)
        process = await _launch(server, home, account)
        try:
            await _ready(server, process)
            yield server
        finally:
            await _stop(process)
    finally:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


def _home(directory: Path | None, account: Account | None) -> Path:
    home = Path(tempfile.mkdtemp(prefix="yaoki-", dir=directory))
    if account is not None:
        os.chown(home, account.uid, account.gid)
    return home


async def _initialise(server: PostgresServer, home: Path, account: Account | None) -> None:
    argv = [
        *(server.program("initdb"), f"--pgdata={home / 'data'}", f"--username={_USER}", "--encoding=UTF8"),
        # The socket lies in a directory that only this user can enter: that is the login.
        *("--locale=C", "--auth=trust", "--no-sync", "--no-instructions"),
    ]
    with as_restore():
        await run(argv, {}, account=account)


async def _launch(server: PostgresServer, home: Path, account: Account | None) -> asyncio.subprocess.Process:
    settings = {**_SETTINGS, "unix_socket_directories": str(home)}
    user = {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}
    with (home / "server.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            server.program("postgres"),
            *("-D", str(home / "data")),
            *(f"--{name}={value}" for name, value in settings.items()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"LC_ALL": "C"},
            cwd="/",
            start_new_session=True,
            **user,  # type: ignore[arg-type]  # mypy does not tell the keys of this dictionary apart
        )


async def _ready(server: PostgresServer, process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_START_S):
            while process.returncode is None:
                with contextlib.suppress(SourceFailedError):
                    async with server.connected() as connection:
                        await connection.execute("SELECT 1")
                        return
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        pass
    raise RestoreFailedError(
        f"the throw-away server did not come up within {_START_S:.0f} s",
        advice="Look whether this machine has memory and disk for it, and whether the binaries fit together.",
        failure=BackupFailureClass.CAPACITY,
    )


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Nothing of it is kept: the whole group is ended at once."""
    for number in (signal.SIGQUIT, signal.SIGKILL):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number) if number is signal.SIGKILL else process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_S)

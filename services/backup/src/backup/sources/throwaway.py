"""A PostgreSQL server that lives for one rehearsal: reachable by its own socket only, gone afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backup.adapters.children import run
from backup.errors import as_restore
from backup.sources.postgres_server import PostgresServer
from backup.sources.private_server import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backup.adapters.accounts import Account

_USER: Final = "yaoki"
SETTINGS: Final = {
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
    home = await asyncio.to_thread(home_in, directory, account)
    server = PostgresServer(host=str(home), user=_USER, database="postgres", tls="disable", binaries=binaries)
    try:
        await _initialise(server, home, account)
        async with running(server, home / "data", SETTINGS, account):
            yield server
    finally:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


def home_in(directory: Path | None, account: Account | None) -> Path:
    """A new directory of the account's own."""
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

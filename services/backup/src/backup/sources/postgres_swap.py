"""Exchanges a live database for a restored one by renaming both, at once or not at all."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import asyncpg
from yaoki.events.backup import BackupFailureClass

from backup.errors import RestoreFailedError
from backup.sources.fingerprint import quoted

if TYPE_CHECKING:
    from backup.sources.postgres_server import Connection, PostgresServer

_PAUSE_S: Final = 0.05
_ATTEMPTS: Final = 5
_LONGEST: Final = 63
_TERMINATE: Final = """
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE datname = ANY($1) AND pid <> pg_catalog.pg_backend_pid()
"""


def beside(live: str, what: str, identity: str) -> str:
    """A name for a database that belongs to `live`, at most 63 bytes long.

    Args:
        live: Name of the live database.
        what: `restored` or `replaced`.
        identity: Of the restore; short, letters and digits.
    """
    suffix = f"_{what}_{identity}".encode()
    return (live.encode()[: _LONGEST - len(suffix)]).decode("utf-8", "ignore") + suffix.decode()


async def swap(server: PostgresServer, *, live: str, replacement: str, kept: str) -> None:
    """Rename `live` to `kept` and `replacement` to `live` in one transaction; whoever is connected is thrown out.

    The rename locks the database's name, so nobody new gets in while its sessions are ended: there is no moment at
    which the name leads nowhere, and no state to clean up when this process dies. Where `live` does not exist, the
    replacement takes its name. Repeating it after it has happened does nothing.

    Args:
        server: Reached through another database than these, as a superuser or their owner.
        live: Name that applications use.
        replacement: The restored database.
        kept: Name that the live one gets.

    Raises:
        RestoreFailedError: Nothing was renamed.
    """
    async with server.connected() as renaming, server.connected() as ending:
        for attempt in range(1, _ATTEMPTS + 1):
            present = {row["datname"] for row in await ending.fetch("SELECT datname FROM pg_catalog.pg_database")}
            if replacement not in present:
                _expect_done(present, live=live, replacement=replacement, kept=kept)
                return
            try:
                await _rename(renaming, ending, _steps(present, live=live, replacement=replacement, kept=kept))
            except asyncpg.ObjectInUseError as exc:
                if attempt == _ATTEMPTS:
                    raise RestoreFailedError(
                        f"database {live!r} is still in use after its sessions were ended {attempt} times",
                        advice="Look for prepared transactions, or for a superuser that reconnects; then swap again.",
                        failure=BackupFailureClass.CONNECTION,
                    ) from exc
            else:
                return


def _steps(present: set[str], *, live: str, replacement: str, kept: str) -> list[tuple[str, str]]:
    return [(live, kept), (replacement, live)] if live in present else [(replacement, live)]


def _expect_done(present: set[str], *, live: str, replacement: str, kept: str) -> None:
    if kept in present and live in present:
        return
    raise RestoreFailedError(
        f"there is no database {replacement!r} to take the place of {live!r}", advice="Restore the backup again."
    )


async def _rename(renaming: Connection, ending: Connection, steps: list[tuple[str, str]]) -> None:
    done = asyncio.Event()
    evicting = asyncio.create_task(_evict(ending, [name for step in steps for name in step], done))
    try:
        async with renaming.transaction():
            for old, new in steps:
                await renaming.execute(f"ALTER DATABASE {quoted(old)} RENAME TO {quoted(new)}")
    finally:
        done.set()
        # To its end: a connection whose question was cancelled cannot be asked the next one at once.
        await evicting


async def _evict(connection: Connection, names: list[str], done: asyncio.Event) -> None:
    while not done.is_set():
        await connection.execute(_TERMINATE, names)
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), _PAUSE_S)

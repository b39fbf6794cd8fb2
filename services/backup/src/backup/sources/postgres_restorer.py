"""Restores a logical backup into a new database beside the live one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backup.sources.postgres_restore import (
    RestoreOptions,
    contents_of,
    database_names,
    drop_database,
    restore_database,
)
from backup.sources.postgres_swap import beside, swap

if TYPE_CHECKING:
    from backup.kinds import RestoreChoices
    from backup.manifest import Content
    from backup.sources.postgres_server import PostgresServer
    from backup.stored import StoredBackup

_RESTORED: Final = "restored"
_REPLACED: Final = "replaced"


class PostgresRestorer:
    """See `kinds.Restorer`.

    Args:
        server: Of the live database.
        maintenance: Another database of that server, to log in to while databases are renamed.
    """

    swaps: Final = True

    def __init__(self, server: PostgresServer, maintenance: str) -> None:
        self._live = server.database
        self._server = server.database_named(maintenance)

    def into(self, identity: str) -> str:
        """See `Restorer.into`."""
        return beside(self._live, _RESTORED, identity)

    async def restore(self, backup: StoredBackup, identity: str, choices: RestoreChoices) -> None:
        """See `Restorer.restore`."""
        options = RestoreOptions(owners=choices.owners, privileges=choices.privileges)
        await drop_database(self._server, self.into(identity))
        await restore_database(self._server, self.into(identity), backup, options)

    async def contents(self, backup: StoredBackup, identity: str) -> tuple[Content, ...]:
        """See `Restorer.contents`."""
        return await contents_of(self._server.database_named(self.into(identity)), backup)

    async def swap(self, identity: str) -> str:
        """See `Restorer.swap`."""
        kept = beside(self._live, _REPLACED, identity)
        await swap(self._server, live=self._live, replacement=self.into(identity), kept=kept)
        return kept

    async def swapped(self, identity: str) -> str:
        """See `Restorer.swapped`."""
        kept = beside(self._live, _REPLACED, identity)
        return kept if kept in await database_names(self._server) else ""

    async def discard(self, identity: str) -> None:
        """See `Restorer.discard`."""
        await drop_database(self._server, self.into(identity))

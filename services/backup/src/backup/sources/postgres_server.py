"""How a PostgreSQL server is reached, by our own connections and by its programs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import asyncpg
import msgspec
from yaoki.events.backup import BackupFailureClass

from backup.errors import SourceFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record]

_CONNECT_S: Final = 15.0
_CLOSE_S: Final = 5.0
_BROKEN: Final = {"08", "57"}
"""Classes of error codes: no connection (any more), and a server that is shutting down or starting."""

_LOGIN: Final = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InsufficientPrivilegeError,
)


class PostgresServer(msgspec.Struct, frozen=True, kw_only=True):
    """One database of one server, and who logs in.

    Attributes:
        host: Name, address, or directory of a socket.
        tls: As libpq's `sslmode`.
        ca_file: Authorities to trust, for `verify-ca` and `verify-full`.
        binaries: Directory of pg_dump, pg_restore and the others; empty for those on PATH.
    """

    host: str
    port: int = 5432
    user: str
    password: str = ""
    database: str
    tls: str = "prefer"
    ca_file: str = ""
    binaries: str = ""

    def program(self, name: str) -> str:
        """Path of one of PostgreSQL's programs."""
        return str(Path(self.binaries) / name) if self.binaries else name

    def environment(self) -> dict[str, str]:
        """For the programs: everything about the connection, so that nothing stands in their arguments."""
        chosen = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGSSLMODE": self.tls,
            "PGSSLROOTCERT": self.ca_file,
            "PGCONNECT_TIMEOUT": str(int(_CONNECT_S)),
            "PGAPPNAME": "yaoki-backup",
            "PGPASSFILE": "/dev/null",
        }
        return {name: value for name, value in chosen.items() if value}

    def database_named(self, name: str) -> PostgresServer:
        """The same server and login, another database."""
        return msgspec.structs.replace(self, database=name)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        """A connection, closed at the end.

        Raises:
            SourceFailedError: It cannot be opened, or it broke.
        """
        with_tls = f"postgresql:///?sslmode={self.tls}"
        try:
            connection = await asyncpg.connect(
                with_tls + (f"&sslrootcert={quote(self.ca_file)}" if self.ca_file else ""),
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password or None,
                database=self.database,
                timeout=_CONNECT_S,
                server_settings={"application_name": "yaoki-backup"},
            )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            raise self._failed(exc) from exc
        try:
            yield connection
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as exc:
            # The last is what asyncpg makes of a session that the server ends between two messages.
            raise self._failed(exc) from exc
        finally:
            await _close(connection)

    def _failed(self, exc: Exception) -> SourceFailedError:
        where = f"database {self.database!r} on {self.host}:{self.port}"
        code = getattr(exc, "sqlstate", None)
        if isinstance(exc, _LOGIN):
            return SourceFailedError(
                f"{where} refused {self.user!r} ({code})",
                advice="Check user, password and rights.",
                failure=BackupFailureClass.AUTHENTICATION,
            )
        if isinstance(exc, asyncpg.PostgresError) and str(code)[:2] not in _BROKEN:
            return SourceFailedError(f"{where} answered with error {code}", advice="Look at the server's log.")
        return SourceFailedError(
            f"{where} could not be reached, or the connection broke ({type(exc).__name__})",
            advice="Look whether the server is up and reachable from here.",
            failure=BackupFailureClass.CONNECTION,
        )


async def _close(connection: Connection) -> None:
    """Say good-bye, or hang up where the server does not listen any more."""
    try:
        await connection.close(timeout=_CLOSE_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()

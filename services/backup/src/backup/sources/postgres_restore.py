"""A logical backup becomes a database again, beside those that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg
import msgspec

from backup.adapters.children import Sink
from backup.errors import RestoreFailedError, as_restore
from backup.sources.fingerprint import contents, prepare, quoted
from backup.sources.postgres_logical import DATA, GLOBALS

if TYPE_CHECKING:
    from backup.manifest import Content
    from backup.sources.postgres_server import Connection, PostgresServer
    from backup.stored import StoredBackup

_PRIVILEGES: Final = frozenset({"CREATE", "CONNECT", "TEMPORARY"})
_ICU: Final = "i"


class RestoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What of a complete backup is restored.

    Attributes:
        owners: Give every object its owner; the role has to exist.
        privileges: Grant what was granted.
        roles: Create roles and other globals first; those that exist are left as they are.
        any_locale: Take another locale where the recorded one is not installed; the content is the same, its order
            is not.
    """

    owners: bool = True
    privileges: bool = True
    roles: bool = False
    any_locale: bool = False


class _Setting(msgspec.Struct, frozen=True):
    role: str | None
    settings: tuple[str, ...]


class _Grant(msgspec.Struct, frozen=True):
    grantee: str | None
    privilege: str
    grantable: bool


async def restore_database(server: PostgresServer, name: str, backup: StoredBackup, options: RestoreOptions) -> None:
    """Create database `name` with the content of `backup`, or leave no trace of it.

    Args:
        server: Reached through any other database, as a user who may create databases.
        name: Must not exist.
        backup: Of kind `postgres-logical`.
        options: What to leave out.

    Raises:
        BackupError: With what went wrong; the database is dropped again.
    """
    if options.roles and any(stream.name == GLOBALS for stream in backup.manifest.streams):
        await _restore_roles(server, backup)
    async with server.connected() as connection:
        await _create(connection, name, backup.manifest.source.details, any_locale=options.any_locale)
    try:
        await _fill(server, name, backup, options)
        async with server.connected() as connection:
            await _configure(connection, name, backup.manifest.source.details, options)
        async with server.database_named(name).connected() as connection:
            await connection.execute("ANALYZE")
    except BaseException:
        await drop_database(server, name)
        raise


async def contents_of(server: PostgresServer, backup: StoredBackup) -> tuple[Content, ...]:
    """Counts and fingerprints of a restored database, taken as those of the manifest were."""
    recorded = backup.manifest.source.contents
    fingerprints = any(content.fingerprint for content in recorded)
    whole = any(stream.name == GLOBALS for stream in backup.manifest.streams)
    tables = () if whole else tuple(content.name for content in recorded)
    async with server.connected() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await prepare(connection)
        return await contents(connection, tables, fingerprints=fingerprints)


async def drop_database(server: PostgresServer, name: str) -> None:
    """Drop a database with whoever is connected to it; one that is not there is no error."""
    async with server.connected() as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")


async def database_names(server: PostgresServer) -> frozenset[str]:
    """Every database of the server."""
    async with server.connected() as connection:
        return frozenset(row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database"))


async def _create(connection: Connection, name: str, details: dict[str, str], *, any_locale: bool) -> None:
    encoding = f"ENCODING {_literal(details.get('encoding', 'UTF8'))}"
    base = f"CREATE DATABASE {quoted(name)} TEMPLATE template0 {encoding}"
    locale = f"LC_COLLATE {_literal(details.get('collate', 'C'))} LC_CTYPE {_literal(details.get('ctype', 'C'))}"
    if details.get("locale_provider") == _ICU and details.get("locale"):
        locale += f" LOCALE_PROVIDER icu ICU_LOCALE {_literal(details['locale'])}"
    try:
        await connection.execute(f"{base} {locale}")
    except asyncpg.DuplicateDatabaseError as exc:
        raise RestoreFailedError(
            f"database {name!r} exists already", advice="Restore under another name, or drop it yourself."
        ) from exc
    except (
        asyncpg.WrongObjectTypeError,
        asyncpg.InvalidParameterValueError,
        asyncpg.ObjectNotInPrerequisiteStateError,
    ):
        if not any_locale:
            raise
        await connection.execute(f"{base} LC_COLLATE 'C' LC_CTYPE 'C'")


async def _fill(server: PostgresServer, name: str, backup: StoredBackup, options: RestoreOptions) -> None:
    argv = [
        *(server.program("pg_restore"), f"--dbname=dbname={_conninfo(name)}", "--exit-on-error", "--no-password"),
        *([] if options.owners else ["--no-owner"]),
        *([] if options.privileges else ["--no-privileges"]),
    ]
    with as_restore():
        async with Sink(argv, server.environment()) as program:

            async def consume(chunk: bytes) -> None:
                await program.write(chunk)
                if program.gone:
                    await program.finish()  # says what it ended with; nothing more needs to be fetched

            await backup.feed(DATA, consume)
            await program.finish()


async def _restore_roles(server: PostgresServer, backup: StoredBackup) -> None:
    # Without ON_ERROR_STOP: what exists already is refused statement by statement, and stays as it is.
    argv = [server.program("psql"), "--no-psqlrc", "--quiet", "--no-password", "--file=-"]
    with as_restore():
        async with Sink(argv, server.environment()) as program:
            await backup.feed(GLOBALS, program.write)
            await program.finish()


async def _configure(connection: Connection, name: str, details: dict[str, str], options: RestoreOptions) -> None:
    """What belongs to the database and is no object inside it."""
    database = quoted(name)
    if options.owners and details.get("owner"):
        await connection.execute(f"ALTER DATABASE {database} OWNER TO {quoted(details['owner'])}")
    for setting in msgspec.json.decode(details.get("settings", "[]"), type=tuple[_Setting, ...]):
        subject = f"ROLE {quoted(setting.role)} IN DATABASE {database}" if setting.role else f"DATABASE {database}"
        for item in setting.settings:
            key, _, value = item.partition("=")
            await connection.execute(f"ALTER {subject} SET {quoted(key)} = {_setting(key, value)}")
    if options.privileges:
        for grant in msgspec.json.decode(details.get("grants", "[]"), type=tuple[_Grant, ...]):
            if grant.privilege in _PRIVILEGES:
                grantee = quoted(grant.grantee) if grant.grantee else "PUBLIC"
                also = " WITH GRANT OPTION" if grant.grantable else ""
                await connection.execute(f"GRANT {grant.privilege} ON DATABASE {database} TO {grantee}{also}")
    if details.get("comment"):
        await connection.execute(f"COMMENT ON DATABASE {database} IS {_literal(details['comment'])}")
    limit = int(details.get("connection_limit", "-1"))
    await connection.execute(f"ALTER DATABASE {database} CONNECTION LIMIT {limit}")


def _literal(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'" if "\\" not in doubled else "E'" + doubled.replace("\\", "\\\\") + "'"


def _setting(key: str, value: str) -> str:
    """Settings that are lists are stored as they are written: quoted once more they would be one name."""
    return (
        value if key in {"search_path", "temp_tablespaces", "session_preload_libraries"} and value else _literal(value)
    )


def _conninfo(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

"""What a PostgreSQL database contains, in numbers that a restored copy must show again.

For each table: how many rows, and the sum over all rows of the MD5 of the row's text. A sum does not depend on the
order of rows, counts duplicates, and is the same on every platform and version. MD5 is no protection against somebody
who wants to deceive, and none is meant: the stored bytes have SHA-256 and an authenticated encryption.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backup.manifest import Content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backup.sources.postgres_server import Connection

LARGE_OBJECTS: Final = "large objects"
_WORD: Final = 1 << 64

# The text of a value depends on these; a row-level policy must fail the reader, not hide rows from it.
_SETTINGS: Final = {
    "search_path": "",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "row_security": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}

# Tables of extensions come with the extension, and foreign tables hold no data of their own.
_TABLES: Final = """
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""

_SUMS: Final = """
SELECT count(*), coalesce(sum(('x' || substr(h, 1, 16))::bit(64)::bigint), 0)::text,
  coalesce(sum(('x' || substr(h, 17, 16))::bit(64)::bigint), 0)::text
FROM (SELECT md5({row}) AS h FROM {source} AS yaoki_row) AS hashes
"""


async def prepare(connection: Connection) -> None:
    """Make the text of values the same as in every other session, for this transaction."""
    known = {row["name"] for row in await connection.fetch("SELECT lower(name) AS name FROM pg_catalog.pg_settings")}
    for name, value in _SETTINGS.items():
        if name.lower() in known:
            await connection.execute("SELECT pg_catalog.set_config($1, $2, true)", name, value)


async def contents(
    connection: Connection, tables: Sequence[str] = (), *, fingerprints: bool = True
) -> tuple[Content, ...]:
    """Counts and fingerprints of tables as this transaction sees them.

    Args:
        connection: In a transaction, after `prepare`.
        tables: `schema.table`; all of the database, and its large objects, when there are none.
        fingerprints: False to count only.
    """
    rows = await connection.fetch(_TABLES)
    chosen = [row for row in rows if not tables or f"{row['nspname']}.{row['relname']}" in tables]
    found = []
    for row in chosen:
        source = f"ONLY {quoted(row['nspname'])}.{quoted(row['relname'])}"
        name = f"{row['nspname']}.{row['relname']}"
        found.append(await _content(connection, name, source, "(yaoki_row.*)::text", fingerprints=fingerprints))
    if not tables:
        found += await _large_objects(connection, fingerprints=fingerprints)
    return tuple(found)


def quoted(identifier: str) -> str:
    """An SQL identifier, whatever its characters."""
    return '"' + identifier.replace('"', '""') + '"'


async def _content(connection: Connection, name: str, source: str, row: str, *, fingerprints: bool) -> Content:
    if not fingerprints:
        count = await connection.fetchval(f"SELECT count(*) FROM {source}")  # noqa: S608 - quoted identifiers only
        return Content(name=name, rows=count)
    count, first, second = await connection.fetchrow(_SUMS.format(row=row, source=source)) or (0, "0", "0")
    return Content(name=name, rows=count, fingerprint=f"{int(first) % _WORD:016x}{int(second) % _WORD:016x}")


async def _large_objects(connection: Connection, *, fingerprints: bool) -> list[Content]:
    count = await connection.fetchval("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata")
    if not count:
        return []
    readable = await connection.fetchval("SELECT has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')")
    if not (readable and fingerprints):
        return [Content(name=LARGE_OBJECTS, rows=count)]
    row = "concat_ws(':', yaoki_row.loid, yaoki_row.pageno, encode(yaoki_row.data, 'hex'))"
    pages = await _content(connection, LARGE_OBJECTS, "pg_catalog.pg_largeobject", row, fingerprints=True)
    return [Content(name=LARGE_OBJECTS, rows=count, fingerprint=pages.fingerprint)]

"""Databases with what is hard to dump, or to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backup.sources.postgres_server import PostgresServer

if TYPE_CHECKING:
    from yaoki_devstack.postgres import PostgresServer as DevPostgres

SCHEMA = r'''
CREATE SCHEMA "Odd ""Schema""";
CREATE TYPE mood AS ENUM ('calm', 'stormy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE orders (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, yaoki_row text, price numeric(12, 2), at timestamptz,
  ratio double precision, raw bytea, tags text[], extra jsonb, feeling mood, stay interval, count positive,
  double_price numeric GENERATED ALWAYS AS (price * 2) STORED);
INSERT INTO orders (yaoki_row, price, at, ratio, raw, tags, extra, feeling, stay, count)
  SELECT 'order ' || n, n * 1.25, timestamptz '2026-03-29 00:30:00Z' + n * interval '1 minute', 1.0 / n,
    decode(md5(n::text), 'hex'), ARRAY['a', NULL, 'ü"' || n], jsonb_build_object('n', n), 'stormy',
    n * interval '1 day 2 hours', n
  FROM generate_series(1, 3000) AS n;
CREATE TABLE "Odd ""Schema"""."T.able" ("co l" int);
INSERT INTO "Odd ""Schema"""."T.able" VALUES (1), (1), (2);
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE empty (id int);
CREATE TABLE events (at date, body text) PARTITION BY RANGE (at);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO events SELECT date '2026-01-01' + n, 'event' FROM generate_series(1, 100) AS n;
CREATE TABLE parent (id int);
CREATE TABLE child (more text) INHERITS (parent);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2, 'x');
CREATE UNLOGGED TABLE unlogged (id int);
INSERT INTO unlogged VALUES (7);
CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM orders;
CREATE VIEW cheap AS SELECT * FROM orders WHERE price < 10;
GRANT SELECT ON orders TO app_reader;
SELECT lo_from_bytea(0, 'large object one'), lo_from_bytea(0, decode(repeat('ff', 5000), 'hex'));
'''
"""Runs as superuser in an empty database."""

TABLES = {
    'Odd "Schema".T.able': 3,
    "public.child": 1,
    "public.empty": 0,
    "public.events_2026": 100,
    "public.nothing": 1,
    "public.orders": 3000,
    "public.parent": 1,
    "public.unlogged": 1,
    "large objects": 2,
}
"""Rows by name, as a manifest counts them."""


class TestDatabase:
    """A database of one test's own, a copy of one with `SCHEMA` in it.

    Args:
        server: Shared by all tests.
        name: Of the database.
    """

    __test__ = False

    def __init__(self, server: DevPostgres, name: str) -> None:
        self.server = server
        self.name = name

    def address(self, name: str = "", *, port: int | None = None) -> PostgresServer:
        """As the service reaches it, perhaps through a proxy or in another database; as superuser."""
        return PostgresServer(
            host=self.server.host,
            port=port or self.server.port,
            user=self.server.credentials.superuser,
            password=self.server.credentials.superuser_password,
            database=name or self.name,
            tls="disable",
            binaries=str(self.server.binaries.directory),
        )

    async def psql(self, sql: str) -> str:
        """Run SQL in it as superuser; rows, one a line."""
        return await self.server.psql(sql, database=self.name)

    async def create_beside(self) -> PostgresServer:
        """An empty database on the same server."""
        name = f"{self.name}_again"
        await self.server.psql(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.address(name)

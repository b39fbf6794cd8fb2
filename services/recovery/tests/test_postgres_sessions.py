"""Ending stuck sessions, and checking the static backup database, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from recovery.adapters.postgres import AsyncpgSessions
from recovery.ports import Terminated
from yaoki.config import Login, PostgresCluster, PostgresMember
from yaoki.config.secrets import Secret
from yaoki.errors import RejectedError, TransientError
from yaoki.flags import Endpoint
from yaoki.testing import eventually
from yaoki_devstack.postgres_cluster import PostgresCluster as PostgresServers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki_devstack.postgres import PostgresServer

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

LONG_S = 3600.0
Connection = Any  # asyncpg.Connection; the class takes no parameters at run time
ENDED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class Sessions:
    """The adapter, over a server with an application on it."""

    def __init__(self, node: PostgresServer) -> None:
        self.node = node
        known = node.credentials
        self.endpoint = Endpoint(member="pg-a", host=node.host, port=node.port)
        self.cluster = PostgresCluster(
            admin=Login(user=known.superuser, password=Secret("env:ADMIN", known.superuser_password)),
            replication=Login(user=known.replication_user),
            database=known.database,
            fallback_url=f"postgresql://{node.host}:{node.port}/{known.database}",
            members={"pg-a": PostgresMember(agent="pg-a", host=node.host, port=node.port)},
        )

    async def terminate(
        self, *, idle_s: float = LONG_S, waiting_s: float = LONG_S, running_s: float = LONG_S
    ) -> Terminated:
        """What recovery orders."""
        return await AsyncpgSessions().terminate_stuck(
            self.cluster, self.endpoint, idle_s=idle_s, waiting_s=waiting_s, running_s=running_s
        )

    async def connect(self, role: str = "app") -> Connection:
        """A session of the application, or of the administrator in its database."""
        dsn = self.node.dsn("app") if role == "app" else self.node.dsn("superuser", database="app")
        return await asyncpg.connect(dsn)

    async def is_(self, connection: Connection, condition: str) -> bool:
        """Whether the server sees the session so."""
        pid = connection.get_server_pid()
        query = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND {condition}"  # noqa: S608 - a number
        return (await self.node.psql(query)).strip() == "1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sessions() -> AsyncIterator[Sessions]:
    async with PostgresServers(standbys=0) as servers:
        await servers.primary.psql("CREATE TABLE stock (n int); GRANT ALL ON stock TO PUBLIC", database="app")
        yield Sessions(servers.primary)


async def test_a_transaction_that_sits_idle_is_ended(sessions: Sessions) -> None:
    stuck, well = await sessions.connect(), await sessions.connect()
    await stuck.execute("BEGIN; INSERT INTO stock VALUES (1)")
    await eventually(lambda: sessions.is_(stuck, "state = 'idle in transaction'"), within=5)

    assert await sessions.terminate() == Terminated()
    assert await sessions.terminate(idle_s=0.0) == Terminated(idle_in_transaction=1)

    await eventually(stuck.is_closed, within=5)
    assert await well.fetchval("SELECT count(*) FROM stock") == 0, "the session that did nothing wrong lives"
    well.terminate()


async def test_who_waits_for_a_lock_is_ended_and_the_administrator_who_holds_it_is_spared(sessions: Sessions) -> None:
    holder, waiting = await sessions.connect("superuser"), await sessions.connect()
    await holder.execute("BEGIN; LOCK TABLE stock")
    query = asyncio.create_task(waiting.execute("INSERT INTO stock VALUES (2)"))
    await eventually(lambda: sessions.is_(waiting, "wait_event_type = 'Lock'"), within=5)

    assert await sessions.terminate(idle_s=0.0, waiting_s=0.0) == Terminated(waiting=1)

    with pytest.raises(ENDED):
        await query
    await holder.execute("COMMIT")
    holder.terminate()


async def test_a_statement_that_runs_too_long_is_ended(sessions: Sessions) -> None:
    running = await sessions.connect()
    query = asyncio.create_task(running.execute("SELECT pg_sleep(600)"))
    await eventually(lambda: sessions.is_(running, "state = 'active'"), within=5)

    assert await sessions.terminate(idle_s=0.0, waiting_s=0.0) == Terminated()
    assert await sessions.terminate(running_s=0.0) == Terminated(running=1)

    with pytest.raises(ENDED):
        await query


async def test_sessions_of_other_databases_are_nobodys_business(sessions: Sessions) -> None:
    await sessions.node.psql("CREATE ROLE stranger LOGIN SUPERUSER PASSWORD 'x'")
    other = await asyncpg.connect(
        host=sessions.node.host, port=sessions.node.port, user="stranger", password="x", database="postgres"
    )
    await other.execute("BEGIN; SELECT 1")
    await eventually(lambda: sessions.is_(other, "state = 'idle in transaction'"), within=5)

    assert await sessions.terminate(idle_s=0.0) == Terminated()

    await other.execute("COMMIT")
    other.terminate()


async def test_the_backup_database_is_where_its_url_says(sessions: Sessions) -> None:
    found = await AsyncpgSessions().check_fallback(sessions.cluster)

    assert (found.host, found.port) == (sessions.node.host, sessions.node.port)


async def test_a_server_that_is_gone_says_so(sessions: Sessions) -> None:
    await sessions.node.kill()

    with pytest.raises(TransientError, match=f"PostgreSQL at {sessions.node.host}:{sessions.node.port}"):
        await sessions.terminate(idle_s=0.0)
    with pytest.raises(TransientError):
        await AsyncpgSessions().check_fallback(sessions.cluster)


async def test_without_a_url_there_is_no_backup_database(sessions: Sessions) -> None:
    with pytest.raises(RejectedError, match=r"set postgres_clusters\.<cluster>\.fallback_url"):
        await AsyncpgSessions().check_fallback(msgspec.structs.replace(sessions.cluster, fallback_url=None))

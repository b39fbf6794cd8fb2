"""Connections that follow a failover, on real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from yaoki.epoch import Epoch
from yaoki.errors import TransientError
from yaoki.flags import Endpoint, Route, RouteState, route_key
from yaoki.sdk import CONNECTION_LOST, Credentials, Database, PoolLimits
from yaoki.sdk.routes import RouteWatch
from yaoki.testing import InMemoryKeyValue, eventually
from yaoki_devstack.postgres_cluster import PostgresCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from yaoki_devstack.postgres import PostgresServer

pytestmark = pytest.mark.real

CREDENTIALS = Credentials(user="yaoki_app", password="app-secret", database="app")


def endpoint(node: PostgresServer) -> Endpoint:
    return Endpoint(member=node.name, host=node.host, port=node.port)


async def publish(
    flags: InMemoryKeyValue,
    counter: int,
    primary: PostgresServer,
    *replicas: PostgresServer,
    state: RouteState = RouteState.SERVING,
) -> None:
    route = Route(
        cluster="orders",
        state=state,
        epoch=Epoch(1, counter),
        primary=endpoint(primary),
        replicas=tuple(endpoint(one) for one in replicas),
        since=datetime.now(UTC),
    )
    await flags.put(route_key("orders"), msgspec.json.encode(route))


@pytest.fixture
async def cluster() -> AsyncIterator[PostgresCluster]:
    async with PostgresCluster(standbys=1) as cluster:
        await cluster.primary.psql("CREATE TABLE t (i int PRIMARY KEY); GRANT ALL ON t TO yaoki_app", database="app")
        await eventually(lambda: granted(cluster.standbys[0]), within=20)
        yield cluster


@pytest.fixture
async def alone() -> AsyncIterator[PostgresServer]:
    """A primary without standbys, for what happens between a client and one server."""
    async with PostgresCluster(standbys=0) as cluster:
        yield cluster.primary


async def granted(standby: PostgresServer) -> bool:
    """Whether the table and the right to write it have arrived at a standby, which a test may promote."""
    rights = "SELECT has_table_privilege('yaoki_app', to_regclass('t'), 'INSERT')"
    return await standby.psql(rights, database="app") == "t"


@pytest.fixture
def flags() -> InMemoryKeyValue:
    return InMemoryKeyValue()


async def server_port(connection: asyncpg.pool.PoolConnectionProxy) -> int:
    return int(await connection.fetchval("SHOW port"))


async def test_writes_follow_the_primary_to_its_new_place(cluster: PostgresCluster, flags: InMemoryKeyValue) -> None:
    """A caller that waits while the route is cut gets a connection to the new primary, without a restart."""
    old, new = cluster.primary, cluster.standbys[0]
    await publish(flags, 1, old, new)
    async with Database(RouteWatch(flags, "orders"), CREDENTIALS) as database:
        async with database.primary() as connection:
            assert await server_port(connection) == old.port

        await publish(flags, 2, old, state=RouteState.CUT)
        await old.kill()
        waiting = asyncio.create_task(_insert(database, 7))
        await new.promote()
        assert not waiting.done()

        await publish(flags, 3, new)
        assert await waiting == new.port


async def _insert(database: Database, number: int) -> int:
    async with database.primary(within_s=30) as connection:
        await connection.execute("INSERT INTO t VALUES ($1)", number)
        return await server_port(connection)


async def test_a_dead_primary_is_retried_until_the_route_changes(
    cluster: PostgresCluster, flags: InMemoryKeyValue
) -> None:
    """Between the death and the first published change nothing is lost but time."""
    old, new = cluster.primary, cluster.standbys[0]
    await publish(flags, 1, old, new)
    async with Database(RouteWatch(flags, "orders"), CREDENTIALS) as database:
        await _insert(database, 1)
        await old.kill()

        waiting = asyncio.create_task(_insert(database, 2))
        await new.promote()
        await publish(flags, 2, new)

        assert await waiting == new.port


async def test_a_late_route_of_an_older_epoch_leads_nobody_back(
    cluster: PostgresCluster, flags: InMemoryKeyValue
) -> None:
    """Epochs only grow, whatever order messages arrive in."""
    old, new = cluster.primary, cluster.standbys[0]
    await new.promote()
    await publish(flags, 5, new)
    routes = RouteWatch(flags, "orders")
    async with Database(routes, CREDENTIALS) as database:
        assert await _insert(database, 1) == new.port
        await publish(flags, 4, old)
        await flags.put(route_key("orders") + "-other", b"not a route of this cluster")
        await publish(flags, 6, new, old)
        await eventually(lambda: routes.route is not None and routes.route.epoch == Epoch(1, 6))
        assert await _insert(database, 2) == new.port


async def test_without_a_primary_the_caller_is_told_in_time(flags: InMemoryKeyValue) -> None:
    """Back-pressure: the error names the cluster and the state of its route."""
    async with Database(RouteWatch(flags, "orders"), CREDENTIALS) as database:
        with pytest.raises(TransientError, match=r"'orders' had no writable primary .* not published yet"):
            async with database.primary(within_s=0.05):
                pass


async def test_reads_go_to_the_replica_and_to_the_primary_without_one(
    cluster: PostgresCluster, flags: InMemoryKeyValue
) -> None:
    """Losing every replica costs capacity, not reads."""
    primary, replica = cluster.primary, cluster.standbys[0]
    await publish(flags, 1, primary, replica)
    async with Database(RouteWatch(flags, "orders"), CREDENTIALS) as database:
        await _insert(database, 1)
        async with database.replica() as connection:
            assert await server_port(connection) == replica.port

        await replica.kill()

        async def reads_from_the_primary() -> bool:
            with contextlib.suppress(*CONNECTION_LOST):  # its end may not have been read from the socket yet
                async with database.replica() as connection:
                    return await server_port(connection) == primary.port
            return False

        await eventually(reads_from_the_primary)


async def test_a_pool_never_exceeds_its_limit_and_its_queue_has_an_end(
    alone: PostgresServer, flags: InMemoryKeyValue
) -> None:
    """The third caller of two connections waits and is told when its time is over."""
    await publish(flags, 1, alone)
    limits = PoolLimits(keep=1, overflow=1)
    async with (
        Database(RouteWatch(flags, "orders"), CREDENTIALS, primary_limits=limits) as database,
        database.primary(),
        database.primary(),
    ):
        with pytest.raises(TransientError, match="gave no connection within"):
            async with database.primary(within_s=0.3):
                pass


async def test_connections_are_recycled_and_checked_before_use(alone: PostgresServer, flags: InMemoryKeyValue) -> None:
    """Neither an old connection nor one that the server has closed meanwhile is handed out."""
    await publish(flags, 1, alone)
    limits = PoolLimits(recycle_s=0.0, check_after_s=0.0)
    async with Database(RouteWatch(flags, "orders"), CREDENTIALS, primary_limits=limits) as database:
        async with database.primary() as connection:
            first = connection.get_server_pid()
        async with database.primary() as connection:
            assert connection.get_server_pid() != first

    async with Database(
        RouteWatch(flags, "orders"), CREDENTIALS, primary_limits=PoolLimits(check_after_s=0.0)
    ) as database:
        async with database.primary() as connection:
            first = connection.get_server_pid()
        await alone.psql(f"SELECT pg_terminate_backend({first})")
        async with database.primary() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_a_password_never_shows() -> None:
    """Neither in a representation nor in a traceback."""
    assert "app-secret" not in repr(CREDENTIALS)


async def test_reset_pools_give_back_what_was_leaked_and_new_connections_at_once(
    alone: PostgresServer, flags: InMemoryKeyValue
) -> None:
    """One connection, and somebody who never gives it back: only a new pool helps."""
    await publish(flags, 1, alone)
    limits = PoolLimits(keep=1, overflow=0)
    async with Database(RouteWatch(flags, "orders"), CREDENTIALS, primary_limits=limits) as database:
        leaked = database.primary()
        connection = await leaked.__aenter__()
        pid = connection.get_server_pid()
        with pytest.raises(TransientError):
            async with database.primary(within_s=0.3):
                pass

        assert await database.reset(within_s=0.1) == 1
        async with database.primary() as fresh:
            assert fresh.get_server_pid() != pid
        with pytest.raises(CONNECTION_LOST):
            await connection.fetchval("SELECT 1")
        await leaked.__aexit__(None, None, None)

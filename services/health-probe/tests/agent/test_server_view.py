"""What a standby says of itself decides who is promoted: it must not say less than it has. Real PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from health_probe.agent.addresses import ServerAddress
from health_probe.agent.postgres_sql import PostgresSql, ServerView
from yaoki.errors import TransientError
from yaoki.testing import eventually
from yaoki_devstack.postgres_cluster import PostgresCluster

if TYPE_CHECKING:
    from yaoki_devstack.postgres import PostgresServer

pytestmark = pytest.mark.real


async def view(node: PostgresServer) -> ServerView:
    known = node.credentials
    sql = PostgresSql(
        ServerAddress(node.host, node.port),
        user=known.superuser,
        password=known.superuser_password,
        database=known.database,
    )
    return await sql.view(2.0)


async def timeline_while_streaming(node: PostgresServer) -> int:
    seen = await view(node)
    return seen.timeline if seen.upstream == "streaming" else 0


async def test_a_standby_that_lost_its_second_primary_knows_that_primarys_timeline() -> None:
    """Its last checkpoint is of the first timeline; with that it would lose against a standby that has less."""
    async with PostgresCluster(standbys=2) as cluster:
        second, third = cluster.standbys
        await second.promote()
        await third.stop()
        third.follow(second)
        await second.create_slot(third.name)
        await third.start()
        await eventually(lambda: timeline_while_streaming(third), within=20)
        await second.psql("CREATE TABLE after_promotion (i int)", database="app")
        assert (await timeline_while_streaming(third)) == 2

        await second.kill()

        await eventually(lambda: _lost_upstream(third), within=20)
        assert (await view(third)).timeline == 2


async def _lost_upstream(node: PostgresServer) -> bool:
    return (await view(node)).upstream != "streaming"


async def test_a_restarted_standby_says_when_it_has_replayed_all_that_it_has() -> None:
    """Also with nobody to stream from: it must become eligible again, and not before."""
    async with PostgresCluster(standbys=1) as cluster:
        standby = cluster.standbys[0]
        assert (await view(cluster.primary)).exhausted
        await eventually(lambda: _exhausted(standby), within=20)
        await cluster.primary.psql("CREATE TABLE t AS SELECT generate_series(1, 100000)", database="app")
        position = (await view(cluster.primary)).received
        await eventually(lambda: _has(standby, position), within=20)
        await cluster.primary.kill()
        await standby.kill()

        await standby.start()

        await eventually(lambda: _exhausted(standby), within=20)
        assert (await view(standby)).received >= position


async def _exhausted(node: PostgresServer) -> bool:
    try:
        return (await view(node)).exhausted
    except TransientError:
        return False


async def _has(node: PostgresServer, position: int) -> bool:
    return (await view(node)).received >= position

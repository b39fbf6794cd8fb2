"""PostgreSQL: replication, standing by, and ways to die."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from yaoki_devstack.errors import CommandFailedError, ServerNotRunningError
from yaoki_devstack.postgres import PostgresServer, StopMode
from yaoki_devstack.postgres_cluster import PostgresCluster
from yaoki_devstack.process import run, user_arguments
from yaoki_devstack.users import postgres_identity
from yaoki_devstack.waiting import until

pytestmark = pytest.mark.real


async def has_rows(node: PostgresServer, expected: str) -> bool:
    try:
        return await node.psql("SELECT count(*) FROM t") == expected
    except CommandFailedError:  # the table has not arrived yet
        return False


async def test_a_standby_replicates_rows(postgres_pair: PostgresCluster) -> None:
    await postgres_pair.primary.psql("CREATE TABLE t AS SELECT generate_series(1, 3)")
    standby = postgres_pair.standbys[0]
    assert await until(lambda: has_rows(standby, "3"), within=5)
    with pytest.raises(CommandFailedError, match="read-only"):
        await standby.psql("INSERT INTO t VALUES (4)")


async def test_an_asynchronous_standby_does_not_hold_commits(postgres_pair: PostgresCluster) -> None:
    await postgres_pair.standbys[0].pause()
    await postgres_pair.primary.psql("CREATE TABLE t (i int)")
    assert await postgres_pair.primary.psql("SELECT sync_state FROM pg_stat_replication") == "async"


async def test_a_synchronous_standby_is_waited_for(synchronous_postgres_pair: PostgresCluster) -> None:
    primary, standby = synchronous_postgres_pair.nodes
    found = await primary.psql("SELECT application_name, sync_state FROM pg_stat_replication")
    assert found == "db2|quorum"
    await standby.pause()
    waiting = asyncio.create_task(primary.psql("CREATE TABLE t (i int)"))

    async def held() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        return await primary.psql(query) == "1"

    assert await until(held, within=5)
    assert not waiting.done()
    await standby.resume()
    await waiting


async def test_standbys_use_their_slots(postgres_pair: PostgresCluster) -> None:
    assert await postgres_pair.primary.psql("SELECT slot_name, active FROM pg_replication_slots") == "db2|t"


async def test_the_application_role_is_no_superuser(postgres_server: PostgresCluster) -> None:
    node = postgres_server.primary
    assert await node.psql("SELECT current_user", database="app", role="app") == "yaoki_app"
    with pytest.raises(CommandFailedError, match="permission denied"):
        await node.psql("SELECT pg_read_file('postgresql.conf')", database="app", role="app")
    with pytest.raises(CommandFailedError, match="password authentication failed"):
        await run([node.binaries.psql, "-c", "SELECT 1", node.dsn().replace("app-secret", "wrong")])


async def test_prepared_nodes_start_without_this_package() -> None:
    cluster = PostgresCluster(standbys=1, synchronous=True)
    agents: list[subprocess.Popen[bytes]] = []
    try:
        await cluster.prepare()
        assert not any(node.running for node in cluster.nodes)
        for node in cluster.nodes:
            with node.log_file.open("ab") as log:
                agents.append(
                    subprocess.Popen(  # noqa: ASYNC220, S603 - stands for an agent that starts the node
                        node.argv, stdout=log, stderr=log, **user_arguments(node.identity)
                    )
                )
        for node in cluster.nodes:
            await node.wait_ready()
        await cluster.wait_streaming()
        assert cluster.primary.pid == agents[0].pid
    finally:
        await cluster.kill()
        for agent in agents:
            agent.wait()
        cluster.discard()


async def test_every_cluster_has_a_system_identifier_of_its_own() -> None:
    query = "SELECT system_identifier FROM pg_control_system()"
    async with PostgresCluster(standbys=1) as one, PostgresCluster(standbys=0) as other:
        assert await one.primary.psql(query) == await one.standbys[0].psql(query)
        assert await one.primary.psql(query) != await other.primary.psql(query)


async def test_killing_only_the_postmaster_leaves_a_working_backend(postgres_server: PostgresCluster) -> None:
    node = postgres_server.primary
    # A backend that computes does not look whether its postmaster lives; ended by its own statement timeout.
    busy = "SET statement_timeout = '20s'; SELECT count(*) FROM generate_series(1, 1000000000)"
    session = asyncio.create_task(node.psql(busy))

    async def computing() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%1000000000%'"
        return await node.psql(query) == "2"  # the asking session contains the number too

    assert await until(computing, within=5)
    await node.kill_postmaster_only()
    with pytest.raises(ServerNotRunningError, match="no postmaster"):
        _ = node.pid
    assert node.running
    await node.kill_tree()
    assert not node.running
    with pytest.raises(CommandFailedError):
        await session


@pytest.mark.parametrize("mode", [StopMode.FAST, StopMode.IMMEDIATE])
async def test_stop_ends_sessions_and_restart_recovers(postgres_server: PostgresCluster, mode: StopMode) -> None:
    node = postgres_server.primary
    await node.psql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    await node.stop(mode=mode)
    assert not node.running
    await node.start()
    assert await node.psql("SELECT i FROM t") == "1"


async def test_a_killed_primary_rejoins_by_pg_rewind_with_its_own_port(
    postgres_pair: PostgresCluster,
) -> None:
    old, new = postgres_pair.nodes
    await old.psql("CREATE TABLE t (i int)")
    assert await until(lambda: has_rows(new, "0"), within=5)
    await old.kill()
    await new.promote()
    await new.psql("CHECKPOINT")
    await old.start()
    await old.psql("INSERT INTO t VALUES (1)")  # diverges
    await old.stop()
    source = new.dsn("replication", database="postgres")
    rewind: list[str | Path] = [new.binaries.pg_rewind, "-D", old.data_dir, "--source-server", source]
    await run(rewind, identity=postgres_identity())
    await new.create_slot(old.name)
    old.follow(new)
    await old.start()
    await new.psql("INSERT INTO t VALUES (1), (2)")
    assert await until(lambda: has_rows(old, "2"), within=10)
    assert await old.psql("SHOW port") == str(old.port)


async def test_clone_makes_a_standby_of_a_running_server(postgres_pair: PostgresCluster) -> None:
    primary, standby = postgres_pair.nodes
    await primary.psql("CREATE TABLE t (i int)")
    await standby.kill()
    await standby.clone(primary)
    await standby.start()
    await postgres_pair.wait_streaming()
    assert await until(lambda: has_rows(standby, "0"), within=5)


async def test_a_killed_node_leaves_no_shared_memory(postgres_server: PostgresCluster) -> None:
    node = postgres_server.primary
    segment = shared_memory_of(node)
    assert segment in existing_segments()
    await node.kill()
    assert segment not in existing_segments()


def shared_memory_of(node: PostgresServer) -> str:
    return (node.data_dir / "postmaster.pid").read_text().splitlines()[6].split()[1]


def existing_segments() -> set[str]:
    table = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {line.split()[1] for line in table}

"""The PostgreSQL probes against real servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from health_probe.adapters.postgres import Login
from health_probe.probes.postgres_primary import PostgresPrimaryCheck
from health_probe.probes.postgres_replica import PostgresReplicaCheck
from health_probe.routes import FixedEndpoint
from yaoki.events.probe import ErrorClass, ProbeStatus
from yaoki.flags import Endpoint
from yaoki.testing import eventually

if TYPE_CHECKING:
    from health_probe.adapters.network import Network
    from yaoki_devstack.postgres import PostgresServer
    from yaoki_devstack.postgres_cluster import PostgresCluster

pytestmark = pytest.mark.real

LOGIN = Login(user="yaoki", password="probe-secret", database="app")


class Candidates:
    """Several members, as before the first publication of a route."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self._endpoints = endpoints

    def primary_candidates(self) -> tuple[Endpoint, ...]:
        return self._endpoints

    def is_published_primary(self, _member: str) -> bool:
        return False


def endpoint(server: PostgresServer) -> Endpoint:
    return Endpoint(member=server.name, host=server.host, port=server.port)


async def create_role(server: PostgresServer, *, schema: bool = True) -> None:
    await server.psql("CREATE ROLE yaoki LOGIN PASSWORD 'probe-secret'")
    await server.psql("GRANT pg_monitor TO yaoki")
    if schema:
        await server.psql("CREATE SCHEMA yaoki AUTHORIZATION yaoki", database="app")


def primary_check(
    network: Network, *servers: PostgresServer, login: Login = LOGIN, write_key: str | None = "orders.prober-1"
) -> PostgresPrimaryCheck:
    return PostgresPrimaryCheck(
        network=network, login=login, endpoints=Candidates(*map(endpoint, servers)), write_key=write_key
    )


def replica_check(network: Network, server: PostgresServer, max_lag_bytes: int = 1_048_576) -> PostgresReplicaCheck:
    return PostgresReplicaCheck(
        network=network,
        login=LOGIN,
        endpoint=endpoint(server),
        endpoints=FixedEndpoint(endpoint(server)),
        max_lag_bytes=max_lag_bytes,
    )


async def test_a_primary_commits_and_gives_back(postgres_server: PostgresCluster, network: Network, run: Any) -> None:
    server = postgres_server.primary
    await create_role(server)

    results = [await run(primary_check(network, server)) for _ in range(3)]

    assert [result.status for result in results] == [ProbeStatus.HEALTHY] * 3, results
    assert results[-1].facts["timeline"] == 1
    assert results[-1].facts["write_checked"] is True
    assert results[-1].facts["lsn"] > results[0].facts["lsn"]
    rows = await server.psql("SELECT target, writes FROM yaoki.yaoki_probe", database="app")
    assert rows.split("|") == ["orders.prober-1", "3"], "one row for each target, whatever the number of probes"
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'yaoki-probe'"

    async def all_sessions_are_gone() -> bool:
        return await server.psql(left) == "0"

    await eventually(all_sessions_are_gone)


async def test_a_missing_grant_degrades_and_does_not_fail(
    postgres_server: PostgresCluster, network: Network, run: Any
) -> None:
    """A failover would not help a role that lacks a schema."""
    await create_role(postgres_server.primary, schema=False)

    result = await run(primary_check(network, postgres_server.primary))

    assert (result.status, result.error_class) == (ProbeStatus.DEGRADED, ErrorClass.AUTH)
    assert "create schema yaoki" in result.detail


async def test_a_wrong_password_is_an_auth_failure(
    postgres_server: PostgresCluster, network: Network, run: Any
) -> None:
    await create_role(postgres_server.primary)
    login = Login(user="yaoki", password="not-the-probe-secret", database="app")

    result = await run(primary_check(network, postgres_server.primary, login=login))

    assert (result.status, result.error_class, result.phase) == (
        ProbeStatus.UNHEALTHY,
        ErrorClass.AUTH,
        "login",
    )
    assert "not-the-probe-secret" not in repr(result)


async def test_no_connections_left_is_a_capacity_failure(
    postgres_server: PostgresCluster, network: Network, run: Any
) -> None:
    await create_role(postgres_server.primary)
    await postgres_server.primary.psql("ALTER ROLE yaoki CONNECTION LIMIT 0")

    result = await run(primary_check(network, postgres_server.primary))

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.CAPACITY), result.detail


async def test_a_stopped_process_is_a_timeout_and_a_killed_one_refused(
    postgres_server: PostgresCluster, network: Network, run: Any, run_out: Any
) -> None:
    server = postgres_server.primary
    await create_role(server)
    await server.pause()
    paused = await run_out(primary_check(network, server), lambda result: result.phase == "login")
    await server.resume()
    resumed = await run(primary_check(network, server))
    await server.kill()
    killed = await run(primary_check(network, server))

    assert (paused.status, paused.error_class, paused.phase) == (
        ProbeStatus.UNHEALTHY,
        ErrorClass.TIMEOUT,
        "login",
    )
    assert resumed.status is ProbeStatus.HEALTHY, resumed
    assert (killed.error_class, killed.phase) == (ErrorClass.REFUSED, "connect")


async def test_a_standby_at_the_primarys_address_is_unhealthy(
    postgres_pair: PostgresCluster, network: Network, run: Any
) -> None:
    await create_role(postgres_pair.primary)
    standby = postgres_pair.standbys[0]

    async def refuses() -> None:
        result = await run(primary_check(network, standby))
        assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.PROTOCOL), result
        assert result.facts["standby"] is True

    await eventually(lambda: _passes(refuses))


async def test_before_the_first_route_one_primary_among_the_members_is_enough(
    postgres_pair: PostgresCluster, network: Network, run: Any
) -> None:
    await create_role(postgres_pair.primary)
    standby, primary = postgres_pair.standbys[0], postgres_pair.primary

    found = await run(primary_check(network, standby, primary))
    await primary.kill()
    lost = await run(primary_check(network, standby, primary))

    assert (found.status, found.facts["member"]) == (ProbeStatus.HEALTHY, primary.name), found
    assert lost.status is ProbeStatus.UNHEALTHY
    assert "none of 2 members is the primary" in lost.detail


async def test_a_commit_that_waits_for_a_standby_is_unhealthy_and_leaves_one_session(
    synchronous_postgres_pair: PostgresCluster, network: Network, run: Any, run_out: Any
) -> None:
    """Such a commit cannot be interrupted; one for each probe would use up all connections."""
    primary, standby = synchronous_postgres_pair.primary, synchronous_postgres_pair.standbys[0]
    await create_role(primary)
    assert (await run(primary_check(network, primary))).status is ProbeStatus.HEALTHY
    await standby.kill()

    results = [await run_out(primary_check(network, primary), lambda result: result.phase == "write") for _ in range(4)]

    assert {(result.status, result.error_class, result.phase) for result in results} == {
        (ProbeStatus.UNHEALTHY, ErrorClass.TIMEOUT, "write")
    }
    assert "waits for a synchronous standby" in results[-1].detail
    waiting = await primary.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    assert waiting == "1"
    await standby.start()

    async def is_well() -> bool:
        result = await run(primary_check(network, primary))
        return bool(result.status is ProbeStatus.HEALTHY)

    await eventually(is_well, within=30.0)


async def test_a_replica_streams_lags_and_is_cut_off(
    postgres_pair: PostgresCluster, network: Network, run: Any
) -> None:
    primary, standby = postgres_pair.primary, postgres_pair.standbys[0]
    await create_role(primary)

    async def streams() -> None:
        result = await run(replica_check(network, standby))
        assert result.status is ProbeStatus.HEALTHY, result
        assert (result.facts["receiver"], result.facts["timeline"]) == ("streaming", 1)

    await eventually(lambda: _passes(streams), within=20.0)
    await standby.psql("SELECT pg_wal_replay_pause()")
    await primary.psql("CREATE TABLE filler AS SELECT repeat('x', 500) FROM generate_series(1, 20000)", database="app")

    async def lags() -> None:
        result = await run(replica_check(network, standby))
        assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.CAPACITY), result
        assert result.facts["lag_bytes"] > 1_048_576
        assert result.facts["lag_seconds"] > 0

    await eventually(lambda: _passes(lags), within=20.0)
    await standby.psql("SELECT pg_wal_replay_resume()")
    await eventually(lambda: _passes(streams), within=20.0)
    await primary.kill()

    async def is_cut_off() -> None:
        result = await run(replica_check(network, standby))
        assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.REFUSED), result

    await eventually(lambda: _passes(is_cut_off), within=20.0)


async def test_an_idle_replica_has_no_lag_in_seconds(
    postgres_pair: PostgresCluster, network: Network, run: Any
) -> None:
    """The age of the last replayed commit would grow for ever on an idle primary."""
    await create_role(postgres_pair.primary)

    async def is_level() -> None:
        result = await run(replica_check(network, postgres_pair.standbys[0]))
        assert result.status is ProbeStatus.HEALTHY, result
        assert (result.facts["lag_bytes"], result.facts["lag_seconds"]) == (0, 0.0)

    await eventually(lambda: _passes(is_level))


async def test_a_replica_that_became_primary_without_a_route_is_unhealthy(
    postgres_pair: PostgresCluster, network: Network, run: Any
) -> None:
    await create_role(postgres_pair.primary)
    standby = postgres_pair.standbys[0]
    await postgres_pair.primary.kill()
    await standby.promote()

    async def is_writable() -> None:
        result = await run(replica_check(network, standby))
        assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.PROTOCOL), result
        assert "route does not name it" in result.detail

    await eventually(lambda: _passes(is_writable))


async def _passes(assertions: Any) -> bool:
    await assertions()
    return True

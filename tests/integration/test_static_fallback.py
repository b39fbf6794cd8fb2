"""A primary without standbys is lost: clients are led to the static backup database, once it is proven stopped."""

from __future__ import annotations

import pytest
from yaoki.events.recovery import EscalatedToHuman, PrimaryPromoted
from yaoki.events.runs import Ending
from yaoki.flags import Route, RouteState
from yaoki.testing import eventually
from yaoki_devstack.postgres_cluster import PostgresCluster

from .harness import RescueSystem

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


async def test_clients_go_to_the_backup_database_as_degraded() -> None:
    async with PostgresCluster(standbys=0) as backup:
        url = f"postgresql://{backup.primary.host}:{backup.primary.port}/app"
        async with RescueSystem(standbys=0, synchronous=False, cluster={"fallback_url": url}) as system:
            before = await system.route()
            assert before is not None

            with (system.nodes[0].data_dir / "postgresql.conf").open("a", encoding="utf-8") as settings:
                settings.write("nonsense = on\n")  # without this its agent would just start it again
            await system.nodes[0].kill()

            async def degraded() -> Route | None:
                route = await system.route()
                return route if route is not None and route.state is RouteState.DEGRADED else None

            route = await eventually(degraded, within=60, poll=0.1)
            ended = await system.finished()

            assert route is not None
            assert route.primary is not None
            assert (route.primary.host, route.primary.port) == (backup.primary.host, backup.primary.port)
            assert route.epoch > before.epoch
            assert ended.ending is Ending.COMPLETED, ended.reason
            assert (await system.lease()).revoked_by, "the old primary must not come back beside the backup database"
            assert not system.nodes[0].running
            assert await system.events(PrimaryPromoted) == []
            assert await system.events(EscalatedToHuman) == []


@pytest.mark.chaos  # every wait of the chain runs to its end, which takes more than a minute
async def test_nobody_goes_there_while_the_old_primary_may_still_write() -> None:
    """Its agent is silent: that its lease is over proves nothing to a database which grants and refuses nothing."""
    async with PostgresCluster(standbys=0) as backup:
        url = f"postgresql://{backup.primary.host}:{backup.primary.port}/app"
        async with RescueSystem(standbys=0, synchronous=False, cluster={"fallback_url": url}) as system:
            await system.processes.kill("agent-db1")
            await system.nodes[0].kill()
            ended = await system.finished(within=120)

            assert ended.ending is Ending.EXHAUSTED, ended.reason
            route = await system.route()
            assert route is not None
            assert route.state is RouteState.CUT
            called = await system.events(EscalatedToHuman)
            assert any("has not said that its server is stopped" in step.error for step in called[0].attempts), called

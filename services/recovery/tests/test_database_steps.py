"""The steps of a failover, one by one, on the model of a cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from recovery.cluster_members import ClusterMembers
from recovery.fencing import Fence, waiting_time
from recovery.steps.database import DatabaseSteps
from yaoki.epoch import Epoch
from yaoki.errors import StaleEpochError
from yaoki.events.recovery import PrimaryPromoted
from yaoki.flag_store import FlagStore
from yaoki.flags import Endpoint, Route, RouteState
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError
from yaoki.tasks import end_tasks
from yaoki.testing import InMemoryKeyValue, InMemoryPublisher

from .builders import T0, config, order
from .fakes import HandClock
from .world import World

PARAMS = {"cluster": "orders"}


class Scene:
    """One instance of recovery beside the model."""

    def __init__(self, **world: Any) -> None:
        self.clock = HandClock()
        self.publisher = InMemoryPublisher()
        self.flags = FlagStore(InMemoryKeyValue(), self.publisher, self.clock)
        self.world = World(InMemoryKeyValue(), self.flags, self.clock, **world)
        self.primary, self.standby = self.world.servers["pg-a"], self.world.servers["pg-b"]
        self.steps = self.instance()

    def instance(self) -> DatabaseSteps:
        """A further instance: it knows nothing of what others saw."""
        return DatabaseSteps(
            ClusterMembers(config().postgres_clusters, self.world),
            fence=Fence(self.world.clusters, self.clock),
            flags=self.flags,
            publisher=self.publisher,
            clock=self.clock,
        )

    async def founded(self) -> Scene:
        """With a lease record and a route."""
        await self.world.found()
        endpoint = Endpoint(member="pg-a", host="127.0.0.1", port=5000)
        await self.flags.publish_route(Route(cluster="orders", state=RouteState.SERVING, primary=endpoint, since=T0))
        return self

    async def route(self) -> Route:
        """As published."""
        found = await self.flags.route("orders")
        assert found is not None
        return found


async def test_a_primary_that_its_own_agent_can_use_is_not_touched() -> None:
    scene = await Scene().founded()

    with pytest.raises(PreconditionFailedError, match="not confirmed by a second signal"):
        await scene.steps.confirm_primary_lost(order("confirm-primary-lost", PARAMS))


async def test_a_silent_agent_is_believed_lost_only_when_its_lease_has_lapsed() -> None:
    scene = await Scene().founded()
    scene.primary.agent_alive = False
    scene.standby.agent_alive = False

    result = await scene.steps.confirm_primary_lost(order("confirm-primary-lost", PARAMS))

    assert "was not renewed" in result.result["signal"]
    assert scene.clock.seconds >= 3.0


async def test_revoking_tells_whom_to_stop() -> None:
    scene = await Scene().founded()

    result = await scene.steps.revoke_lease(order("revoke-lease", PARAMS))

    assert result.result["holder"] == "pg-a"
    assert result.result["agent"] == "agent-pg-a"
    assert (await scene.world.record())[0].revoked_by == "run-1"


async def test_without_the_agent_only_time_proves_the_fencing() -> None:
    scene = await Scene().founded()
    scene.primary.agent_alive = False
    await scene.steps.revoke_lease(order("revoke-lease", PARAMS))
    before = scene.clock.seconds

    result = await scene.steps.prove_fenced(order("prove-fenced", PARAMS))

    assert result.result["proof"] == "lease-lapsed"
    record, _ = await scene.world.record()
    assert scene.clock.seconds - before >= waiting_time(record)


async def test_for_a_fallback_time_proves_nothing() -> None:
    """By grants of its standbys the old primary may go on without NATS for as long as it likes."""
    scene = await Scene().founded()
    scene.primary.agent_alive = False
    await scene.steps.revoke_lease(order("revoke-lease", PARAMS))

    with pytest.raises(ActionFailedError, match="has not said that its server is stopped"):
        await scene.steps.prove_fenced(order("prove-fenced", {**PARAMS, "by_agent_only": True}))


async def test_a_successor_waits_the_whole_lease_again() -> None:
    scene = await Scene().founded()
    scene.primary.agent_alive = False
    await scene.steps.revoke_lease(order("revoke-lease", PARAMS))
    record, _ = await scene.world.record()
    scene.clock.forward(waiting_time(record) - 0.1)
    before = scene.clock.seconds

    await scene.instance().prove_fenced(order("prove-fenced", PARAMS))

    assert scene.clock.seconds - before >= waiting_time(record)


async def test_a_server_that_is_gone_proves_it_at_once() -> None:
    scene = await Scene().founded()
    await scene.steps.revoke_lease(order("revoke-lease", PARAMS))
    scene.primary.running, scene.primary.deadline = False, None
    before = scene.clock.seconds

    result = await scene.steps.prove_fenced(order("prove-fenced", PARAMS))

    assert result.result["proof"] == "agent"
    assert scene.clock.seconds == before


async def test_nothing_is_proven_when_somebody_else_took_the_lease() -> None:
    scene = await Scene().founded()

    with pytest.raises(ActionFailedError, match="no longer revoked by this run"):
        await scene.steps.prove_fenced(order("prove-fenced", PARAMS))
    with pytest.raises(ActionFailedError, match="no longer revoked by this run"):
        await scene.steps.choose_candidate(order("choose-candidate", PARAMS))


async def test_a_standby_over_the_limit_is_not_chosen() -> None:
    scene = await Scene(standby_position=-2_000_000).founded()
    await scene.steps.revoke_lease(order("revoke-lease", PARAMS))

    with pytest.raises(ActionFailedError, match="bytes of WAL, the limit is"):
        await scene.steps.choose_candidate(order("choose-candidate", PARAMS))


async def test_the_old_primary_is_reinstated_with_its_route_when_nobody_was_promoted() -> None:
    scene = await Scene().founded()
    await scene.steps.revoke_lease(order("revoke-lease", PARAMS))
    await scene.steps.cut_route(order("cut-route", PARAMS))
    scene.world.crash("pg-a")
    living = asyncio.create_task(scene.world.live())

    result = await scene.steps.reinstate_holder(order("reinstate-holder", PARAMS))

    await end_tasks([living])
    assert result.result == {"reinstated": True, "holder": "pg-a", "serves": True}
    assert scene.primary.writable
    route = await scene.route()
    assert route.state is RouteState.SERVING
    assert route.primary is not None
    assert route.primary.member == "pg-a"
    assert route.epoch == Epoch(1, 10)


async def test_no_route_leads_to_an_old_primary_that_was_reinstated_and_does_not_serve() -> None:
    scene = await Scene().founded()
    await scene.steps.revoke_lease(order("revoke-lease", PARAMS))
    await scene.steps.cut_route(order("cut-route", PARAMS))
    scene.primary.broken = True
    scene.world.crash("pg-a")

    result = await scene.steps.reinstate_holder(order("reinstate-holder", PARAMS))

    assert result.result == {"reinstated": True, "holder": "pg-a", "serves": False}
    assert (await scene.world.record())[0].holder == "pg-a"
    assert (await scene.route()).state is RouteState.CUT


async def test_without_its_agent_the_old_primary_stays_revoked_and_the_route_cut() -> None:
    scene = await Scene().founded()
    scene.primary.agent_alive = False
    await scene.steps.revoke_lease(order("revoke-lease", PARAMS))
    await scene.steps.cut_route(order("cut-route", PARAMS))

    result = await scene.steps.reinstate_holder(order("reinstate-holder", PARAMS))

    assert result.result["reinstated"] is False
    assert (await scene.world.record())[0].revoked_by == "run-1"
    assert (await scene.route()).state is RouteState.CUT


async def test_the_new_primary_is_published_once_with_the_leaders_epoch() -> None:
    scene = await Scene().founded()
    publication = {**PARAMS, "member": "pg-b", "previous": "pg-a", "timeline": 2, "lag_bytes": 0}

    await scene.steps.publish_route(order("publish-route", publication))
    await scene.steps.publish_route(order("publish-route", publication, epoch=Epoch(1, 11)))

    route = await scene.route()
    assert route.epoch == Epoch(1, 11)
    assert [replica.member for replica in route.replicas] == ["pg-a"]
    promotions = [event for event in scene.publisher.events if isinstance(event, PrimaryPromoted)]
    assert [(event.member, event.timeline) for event in promotions] == [("pg-b", 2)]


async def test_a_leader_that_was_replaced_neither_cuts_nor_publishes() -> None:
    scene = await Scene().founded()
    await scene.steps.cut_route(order("cut-route", PARAMS, epoch=Epoch(1, 20)))
    publication = {**PARAMS, "member": "pg-b", "previous": "pg-a", "timeline": 2, "lag_bytes": 0}

    with pytest.raises(StaleEpochError):
        await scene.steps.publish_route(order("publish-route", publication))
    with pytest.raises(StaleEpochError):
        await scene.steps.cut_route(order("cut-route", PARAMS))

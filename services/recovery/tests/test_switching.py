"""An order to switch over, as it arrives: what refuses it, and that it starts one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from recovery.guard_book import GuardBook
from recovery.guarding import Guards
from recovery.guards import Paused
from recovery.initial_routes import FIRST_ROUTE
from recovery.switching import SwitchoverHandlers
from yaoki.clock import Uuid7Source
from yaoki.commands.recovery import SwitchOver
from yaoki.epoch import Epoch
from yaoki.errors import RejectedError
from yaoki.flag_store import FlagStore
from yaoki.flags import Endpoint, Route, RouteState
from yaoki.subjects import Subjects
from yaoki.testing import InMemoryKeyValue, InMemoryPublisher

from .builders import T0, config
from .fakes import HandClock
from .test_switchover import seen, standby

if TYPE_CHECKING:
    from recovery.switchover import Healthy
    from yaoki.commands.recovery import RunView
    from yaoki.runs.starting import StartRun


class Cluster:
    """A healthy pair, and the runs that were started on it."""

    def __init__(self) -> None:
        self.started: list[StartRun] = []
        self.present: Healthy = seen(standby())

    async def look(self, _cluster: str) -> Healthy:
        return self.present

    async def start(self, start: StartRun) -> str:
        self.started.append(start)
        return start.run_id

    async def view(self, _run_id: str) -> RunView | None:
        return None


class Desk:
    """The handlers with their stores in memory."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.clock = HandClock()
        self.book = GuardBook(InMemoryKeyValue(self.clock))
        self.flags = FlagStore(InMemoryKeyValue(self.clock), InMemoryPublisher(), self.clock)
        self.handlers = SwitchoverHandlers(
            config(),
            looks=self.cluster,
            guards=Guards(config(), self.book, self.clock),
            flags=self.flags,
            runs=self.cluster,
            subjects=Subjects(),
            clock=self.clock,
            ids=Uuid7Source(),
        )

    async def publish(self, by: str, state: RouteState = RouteState.SERVING) -> None:
        endpoint = Endpoint(member="pg-a", host="127.0.0.1", port=5000)
        route = Route(cluster="orders", state=state, epoch=Epoch(1, 1), primary=endpoint, since=self.clock.now())
        await self.flags.publish_route(route, by=by)

    async def refusal(self, cluster: str = "orders", to: str = "") -> str:
        with pytest.raises(RejectedError) as refused:
            await self.handlers.order(SwitchOver(cluster=cluster, to=to, by="alice"))
        assert self.cluster.started == []
        return refused.value.message


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_an_order_starts_the_run_of_the_one_who_gave_it(desk: Desk) -> None:
    await desk.publish(FIRST_ROUTE)

    accepted = await desk.handlers.order(SwitchOver(cluster="orders", by="alice", reason="kernel", order_id="one"))

    assert accepted.run_id == "order-one"
    (start,) = desk.cluster.started
    assert (start.resource, start.started_by, start.reason) == ("orders", "alice", "kernel")
    assert start.facts["target"] == "orders-db"
    assert start.entry().plan.name == "switch-over"


async def test_a_cluster_that_is_not_configured_is_named(desk: Desk) -> None:
    assert await desk.refusal("elsewhere") == (
        "cluster 'elsewhere' is not configured; expected a name under postgres_clusters: orders"
    )


async def test_a_member_that_cannot_take_over_is_refused(desk: Desk) -> None:
    assert "'pg-a' cannot take over from pg-a; expected one of pg-b" in await desk.refusal(to="pg-a")


@pytest.mark.parametrize("target", ["", "orders-db"])
async def test_a_pause_holds_it_back(desk: Desk, target: str) -> None:
    await desk.book.pause(target, Paused(by="bob", reason="moving racks", since=T0))

    assert "paused by bob: moving racks" in await desk.refusal()


async def test_a_primary_that_was_changed_a_moment_ago_stays(desk: Desk) -> None:
    await desk.publish("run-1")
    desk.clock.forward(179.0)

    assert "was changed less than 180 s ago" in await desk.refusal()

    desk.clock.forward(1.0)
    await desk.handlers.order(SwitchOver(cluster="orders", by="alice"))
    assert len(desk.cluster.started) == 1


async def test_a_route_that_is_cut_belongs_to_the_run_that_cut_it(desk: Desk) -> None:
    await desk.publish("run-1", RouteState.CUT)

    assert "the route of orders is cut" in await desk.refusal()

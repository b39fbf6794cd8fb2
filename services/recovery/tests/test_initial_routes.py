"""The first route: published once, from what holder and agent agree on, and never over an existing one."""

from __future__ import annotations

import msgspec
from recovery.fencing import Fence
from recovery.initial_routes import InitialRoutes
from yaoki.flag_store import FlagStore
from yaoki.flags import Endpoint, Route, RouteState
from yaoki.testing import InMemoryKeyValue, InMemoryPublisher

from .builders import T0, config, record, status
from .fakes import HandClock, ScriptedAgents

PRIMARY = {"role": "primary"}


class Place:
    """A bucket of flags and one of leases, with the given agents."""

    def __init__(self, agents: ScriptedAgents) -> None:
        clock = HandClock()
        self.clusters = InMemoryKeyValue()
        self.flags = FlagStore(InMemoryKeyValue(), InMemoryPublisher(), clock)
        self.routes = InitialRoutes(
            config(), fence=Fence(self.clusters, clock), agents=agents, flags=self.flags, clock=clock
        )

    async def primary(self, name: str) -> str:
        """The member that the route names."""
        route = await self.flags.route(name)
        return route.primary.member if route is not None and route.primary is not None else ""


async def test_clients_are_led_to_the_servers_that_serve() -> None:
    place = Place(
        ScriptedAgents(
            pg_a=lambda: status("pg-a", **PRIMARY),
            pg_b=lambda: status("pg-b"),
            redis_a=lambda: status("redis-a"),
            redis_b=lambda: status("redis-b", **PRIMARY),
        )
    )
    await place.clusters.create("orders", msgspec.json.encode(record()))

    await place.routes.publish()

    assert (await place.primary("orders"), await place.primary("cache")) == ("pg-a", "redis-b")
    assert place.routes.complete


async def test_nothing_is_published_while_holder_and_agents_disagree() -> None:
    place = Place(
        ScriptedAgents(
            pg_b=lambda: status("pg-b", **PRIMARY),
            redis_a=lambda: status("redis-a", **PRIMARY),
            redis_b=lambda: status("redis-b", **PRIMARY),
        )
    )
    await place.clusters.create("orders", msgspec.json.encode(record()))

    await place.routes.publish()

    assert await place.primary("orders") == ""
    assert await place.primary("cache") == ""
    assert not place.routes.complete


async def test_an_existing_route_is_left_alone() -> None:
    place = Place(ScriptedAgents(pg_a=lambda: status("pg-a", **PRIMARY)))
    await place.clusters.create("orders", msgspec.json.encode(record()))
    published = Route(
        cluster="orders",
        state=RouteState.CUT,
        primary=Endpoint(member="pg-b", host="127.0.0.1", port=1),
        since=T0,
    )
    await place.flags.publish_route(published)

    await place.routes.publish()

    assert await place.flags.route("orders") == published

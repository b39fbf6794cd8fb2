"""The flag store against memory and against a real NATS: the same promises."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yaoki.clock import SystemClock
from yaoki.epoch import Epoch
from yaoki.errors import StaleEpochError
from yaoki.events.flags import FlagChanged
from yaoki.flag_store import FlagStore
from yaoki.flags import Endpoint, Route, RouteState, maintenance_key, route_key
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import provision
from yaoki.testing import InMemoryKeyValue, InMemoryPublisher, eventually
from yaoki_devstack.nats import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from yaoki.messaging.ports import Entry, KeyValue

EPOCHS = [Epoch(1, 5), Epoch(1, 9), Epoch(2, 1)]


def route(epoch: Epoch, member: str = "pg-a", state: RouteState = RouteState.SERVING) -> Route:
    """A route of the cluster `orders`."""
    primary = Endpoint(member=member, host="127.0.0.1", port=5432)
    return Route(cluster="orders", state=state, epoch=epoch, primary=primary, since=datetime.now(UTC), reason="test")


class Bench:
    """A store with what it writes to."""

    def __init__(self, kv: KeyValue) -> None:
        self.kv = kv
        self.publisher = InMemoryPublisher()
        self.store = FlagStore(kv, self.publisher, SystemClock())

    def changes(self) -> list[FlagChanged]:
        """What was announced."""
        return [event for event in self.publisher.events if isinstance(event, FlagChanged)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats() -> AsyncIterator[NatsSettings]:
    """One provisioned server for the module."""
    async with NatsServer() as server:
        found = NatsSettings(servers=(server.url,))
        await provision(found)
        yield found


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.real)])
def place(request: pytest.FixtureRequest) -> NatsSettings | None:
    """Where the flags are: None in memory."""
    return None if request.param == "memory" else request.getfixturevalue("nats")


@pytest_asyncio.fixture
async def bench(place: NatsSettings | None) -> AsyncIterator[Bench]:
    if place is None:
        yield Bench(InMemoryKeyValue())
        return
    async with Messaging.connect(place, service="test", instance="test-1") as messaging:
        await messaging.jetstream.purge_stream("KV_flags")
        yield Bench(messaging.kv("flags"))


async def test_a_switch_reads_back_and_is_announced(bench: Bench) -> None:
    """The value in the bucket, the return value and the event agree."""
    written = await bench.store.set_switch(maintenance_key(), on=True, by="run-1", reason="drill", retry_after_s=5)

    assert await bench.store.switch(maintenance_key()) == written
    assert (written.on, written.by, written.retry_after_s) == (True, "run-1", 5)
    (change,) = bench.changes()
    assert (change.flag, change.by, change.reason) == ("maintenance-all", "run-1", "drill")
    assert msgspec.json.decode(change.value)["on"] is True


async def test_since_is_when_the_position_changed(bench: Bench) -> None:
    """Setting it again says who did, but not that it began anew."""
    first = await bench.store.set_switch("caching.main", on=True, by="run-1")
    again = await bench.store.set_switch("caching.main", on=True, by="run-2")
    off = await bench.store.set_switch("caching.main", on=False, by="run-2")

    assert again.since == first.since
    assert again.by == "run-2"
    assert off.since is not None
    assert first.since is not None
    assert off.since > first.since


async def test_what_nobody_set_is_absent(bench: Bench) -> None:
    """Absent is not off: the reader decides."""
    assert await bench.store.switch("circuit.bank") is None
    assert await bench.store.route("orders") is None


async def test_the_epoch_of_a_route_only_grows(bench: Bench) -> None:
    """An order of a replaced leader changes nothing and says why."""
    await bench.store.publish_route(route(Epoch(1, 9), "pg-b"))

    for stale in (Epoch(1, 8), Epoch(0, 99)):
        with pytest.raises(StaleEpochError, match=r"has epoch 1\.9, above"):
            await bench.store.publish_route(route(stale))
        with pytest.raises(StaleEpochError):
            await bench.store.cut_route("orders", epoch=stale, by="run", reason="late")

    stored = await bench.store.route("orders")
    assert stored is not None
    assert stored.primary is not None
    assert (stored.epoch, stored.primary.member, stored.state) == (Epoch(1, 9), "pg-b", RouteState.SERVING)
    assert len(bench.changes()) == 1


async def test_the_same_route_again_changes_nothing(bench: Bench) -> None:
    """A repeat of an order writes no new revision and is announced once."""
    first = await bench.store.publish_route(route(Epoch(1, 9)))
    before = await bench.kv.get(route_key("orders"))
    again = await bench.store.publish_route(route(Epoch(1, 9)))

    assert again == first
    assert await bench.kv.get(route_key("orders")) == before
    assert len(bench.changes()) == 1


async def test_a_writer_that_died_before_its_event_is_made_good_by_the_repeat(bench: Bench) -> None:
    """The flag stands already; the repeat publishes what is missing."""
    await bench.kv.put(route_key("orders"), msgspec.json.encode(written := route(Epoch(1, 9))))

    await bench.store.publish_route(written, by="run-1")

    assert [change.flag for change in bench.changes()] == ["route-orders"]


async def test_a_cut_keeps_the_endpoints_and_is_lifted_in_its_own_epoch(bench: Bench) -> None:
    """The undo of a cut sees where clients went before."""
    await bench.store.publish_route(route(Epoch(1, 5), "pg-a"))
    cut = await bench.store.cut_route("orders", epoch=Epoch(1, 9), by="run-1", reason="failover")
    lifted = await bench.store.publish_route(route(Epoch(1, 9), "pg-b"))

    assert cut.state is RouteState.CUT
    assert cut.primary is not None
    assert cut.primary.member == "pg-a"
    assert lifted.state is RouteState.SERVING
    assert await bench.store.route("orders") == lifted


class Interrupted:
    """A bucket in which somebody else acts once, between this writer's read and its write."""

    def __init__(self, kv: KeyValue, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._kv = kv
        self._meanwhile: Callable[[], Awaitable[object]] | None = meanwhile

    async def get(self, key: str) -> Entry | None:
        entry = await self._kv.get(key)
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            await meanwhile()
        return entry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kv, name)


@pytest.mark.parametrize("present", [True, False], ids=["route-present", "no-route-yet"])
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "publish"])
async def test_an_older_leader_that_read_in_time_but_writes_late_is_refused(
    bench: Bench, *, present: bool, cut: bool
) -> None:
    """The decision is taken anew on what the other one wrote in between."""
    if present:
        await bench.store.publish_route(route(Epoch(1, 5)))
    newer = route(Epoch(1, 9), "pg-b")
    interrupted = Interrupted(bench.kv, lambda: bench.store.publish_route(newer))
    older = FlagStore(cast("KeyValue", interrupted), bench.publisher, SystemClock())

    late = (
        older.cut_route("orders", epoch=Epoch(1, 7), by="run-7", reason="late")
        if cut
        else older.publish_route(route(Epoch(1, 7), "pg-a"))
    )
    with pytest.raises(StaleEpochError):
        await late

    assert await bench.store.route("orders") == newer


async def test_a_newer_leader_that_is_overtaken_still_writes(bench: Bench) -> None:
    """A lost compare-and-set is no refusal."""
    interrupted = Interrupted(bench.kv, lambda: bench.store.publish_route(route(Epoch(1, 5))))
    newer = FlagStore(cast("KeyValue", interrupted), bench.publisher, SystemClock())

    written = await newer.publish_route(route(Epoch(1, 9), "pg-b"))

    assert await bench.store.route("orders") == written


async def test_a_watch_sees_the_present_and_every_later_route(bench: Bench) -> None:
    """And passes over what is no route."""
    await bench.store.publish_route(route(Epoch(1, 1)))
    seen: list[str] = []

    async def watch() -> None:
        async for one in bench.store.watch_routes("orders"):
            seen.append(f"{one.state} {one.epoch}")  # noqa: PERF401 - read while it grows

    watching = asyncio.create_task(watch())
    try:
        await eventually(lambda: len(seen) == 1)
        await bench.store.cut_route("orders", epoch=Epoch(1, 2), by="run", reason="failover")
        await eventually(lambda: len(seen) == 2)
        await bench.kv.put(route_key("orders"), b"\xff not a route")
        await bench.store.publish_route(route(Epoch(1, 3)))
        await eventually(lambda: len(seen) == 3)
    finally:
        watching.cancel()

    assert seen == ["serving 1.1", "cut 1.2", "serving 1.3"]


async def test_what_a_person_spoilt_counts_as_absent_and_may_be_overwritten(bench: Bench) -> None:
    """Rubbish in the bucket must not stop a failover."""
    await bench.kv.put(route_key("orders"), b'{"cluster": 5}')

    assert await bench.store.route("orders") is None
    await bench.store.publish_route(route(Epoch(1, 1)))
    stored = await bench.store.route("orders")
    assert stored is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(EPOCHS), st.sampled_from(["pg-a", "pg-b"]), st.booleans()), max_size=12))
def test_in_any_order_of_orders_the_epoch_never_falls(orders: list[tuple[Epoch, str, bool]]) -> None:
    """Cuts and publications of several leaders, interleaved at will."""

    async def run() -> list[Epoch]:
        bench = Bench(InMemoryKeyValue())
        epochs: list[Epoch] = []
        for epoch, member, cut in orders:
            order: Any = (
                bench.store.cut_route("orders", epoch=epoch, by="run", reason="r")
                if cut
                else bench.store.publish_route(route(epoch, member))
            )
            stored_before = await bench.store.route("orders")
            refused = stored_before is not None and stored_before.epoch > epoch
            try:
                await order
                assert not refused
            except StaleEpochError:
                assert refused
            stored = await bench.store.route("orders")
            assert stored is not None
            epochs.append(stored.epoch)
        return epochs

    seen = asyncio.run(run())

    assert all(earlier <= later for earlier, later in itertools.pairwise(seen))

"""One conformance suite for `KeyValue`: in memory, and on a real server. Then what only a server can show."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from yaoki.errors import ConflictError, RejectedError, TransientError
from yaoki.messaging import Entry, Messaging, NatsSettings
from yaoki.messaging.keyvalue import NatsKeyValue
from yaoki.provision import provision
from yaoki.tasks import end_tasks
from yaoki.testing import InMemoryKeyValue, eventually, patient
from yaoki_devstack.nats import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.messaging import KeyValue


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lasting_server() -> AsyncIterator[NatsServer]:
    """One for the conformance suite, provisioned; do not break it."""
    async with NatsServer() as running:
        await provision(NatsSettings(servers=(running.url,), monitoring_url=running.monitor_url))
        yield running


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.real)])
def place(request: pytest.FixtureRequest) -> NatsServer | None:
    """Where the bucket is: None in memory."""
    return None if request.param == "memory" else request.getfixturevalue("lasting_server")


@pytest_asyncio.fixture
async def bucket(place: NatsServer | None) -> AsyncIterator[KeyValue]:
    """Each adapter in turn, empty."""
    if place is None:
        yield InMemoryKeyValue()
        return
    settings = NatsSettings(servers=(place.url,), monitoring_url=place.monitor_url)
    async with Messaging.connect(settings, service="recovery", instance="recovery-1") as messaging:
        await messaging.jetstream.purge_stream("KV_leases")
        yield messaging.kv("leases")


class Watching:
    """Collects what a watch yields."""

    def __init__(self, bucket: KeyValue, prefix: str = "") -> None:
        self.entries: list[Entry] = []
        self._task = asyncio.create_task(self._run(bucket, prefix))

    async def _run(self, bucket: KeyValue, prefix: str) -> None:
        async for entry in bucket.watch(prefix):
            self.entries.append(entry)

    @property
    def values(self) -> dict[str, bytes | None]:
        """The last value seen of every key."""
        return {entry.key: entry.value for entry in self.entries}

    def is_busy(self) -> bool:
        """Whether versions are coming in."""
        return len(self.entries) > 3

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def test_what_is_not_there_is_none(bucket: KeyValue) -> None:
    assert await bucket.get("a.b") is None


async def test_create_then_get(bucket: KeyValue) -> None:
    revision = await bucket.create("a.b", b"one")
    assert await bucket.get("a.b") == Entry(key="a.b", value=b"one", revision=revision)


async def test_an_empty_value_is_a_value(bucket: KeyValue) -> None:
    await bucket.put("a", b"")
    entry = await bucket.get("a")
    assert entry is not None
    assert entry.value == b""


async def test_create_fails_when_the_key_exists(bucket: KeyValue) -> None:
    await bucket.create("a", b"one")
    with pytest.raises(ConflictError):
        await bucket.create("a", b"two")
    entry = await bucket.get("a")
    assert entry is not None
    assert entry.value == b"one"


async def test_create_works_again_after_delete(bucket: KeyValue) -> None:
    first = await bucket.create("a", b"one")
    await bucket.delete("a")
    assert await bucket.get("a") is None
    second = await bucket.create("a", b"two")
    assert second > first


async def test_update_needs_the_exact_revision(bucket: KeyValue) -> None:
    first = await bucket.create("a", b"one")
    second = await bucket.update("a", b"two", revision=first)
    assert second > first
    with pytest.raises(ConflictError):
        await bucket.update("a", b"three", revision=first)
    entry = await bucket.get("a")
    assert entry == Entry(key="a", value=b"two", revision=second)


async def test_update_of_nothing_is_a_conflict(bucket: KeyValue) -> None:
    with pytest.raises(ConflictError):
        await bucket.update("a", b"one", revision=7)


async def test_put_writes_over_whatever_is_there(bucket: KeyValue) -> None:
    first = await bucket.put("a", b"one")
    second = await bucket.put("a", b"two")
    assert second > first


async def test_delete_with_a_revision_deletes_only_that(bucket: KeyValue) -> None:
    first = await bucket.create("a", b"one")
    second = await bucket.update("a", b"two", revision=first)
    with pytest.raises(ConflictError):
        await bucket.delete("a", revision=first)
    await bucket.delete("a", revision=second)
    assert await bucket.get("a") is None


async def test_deleting_nothing_is_no_error(bucket: KeyValue) -> None:
    await bucket.delete("a")
    assert await bucket.keys() == []


async def test_keys_are_the_live_ones_sorted(bucket: KeyValue) -> None:
    for key in ("b.two", "a.one", "b.one", "bb.one"):
        await bucket.create(key, b"x")
    await bucket.delete("b.two")
    assert await bucket.keys() == ["a.one", "b.one", "bb.one"]
    assert await bucket.keys("b.") == ["b.one"]
    assert await bucket.keys("b") == ["b.one", "bb.one"]
    assert await bucket.keys("c") == []


@pytest.mark.parametrize("key", ["", ".a", "a.", "a..b", "a b", "*", "a.>", "ä", "x" * 513])
async def test_a_key_that_cannot_be_one_is_refused(bucket: KeyValue, key: str) -> None:
    with pytest.raises(RejectedError, match="not a valid key"):
        await bucket.put(key, b"x")
    with pytest.raises(RejectedError, match="not a valid key"):
        await bucket.get(key)


async def test_a_key_lapses_by_its_ttl_and_can_be_created_again(bucket: KeyValue) -> None:
    await bucket.create("lease", b"one", ttl_s=1.0)
    await bucket.create("lasting", b"one", ttl_s=60.0)

    async def lapsed() -> bool:
        return await bucket.get("lease") is None

    await eventually(lapsed)
    assert await bucket.get("lasting") is not None
    await bucket.create("lease", b"two", ttl_s=60.0)


async def test_renewing_extends_the_ttl(bucket: KeyValue) -> None:
    # Long enough to be there still when it is renewed, however busy the machine.
    first = await bucket.create("lease", b"one", ttl_s=3.0)
    await bucket.create("probe", b"x", ttl_s=3.0)
    await bucket.update("lease", b"two", revision=first, ttl_s=60.0)

    async def other_lapsed() -> bool:
        return await bucket.get("probe") is None

    await eventually(other_lapsed)
    assert await bucket.get("lease") is not None


async def test_watch_shows_what_is_there_then_every_change(bucket: KeyValue) -> None:
    await bucket.create("a.one", b"1")
    await bucket.create("b.one", b"1")
    watching = Watching(bucket, "a.")
    await eventually(lambda: watching.values == {"a.one": b"1"})
    revision = await bucket.put("a.two", b"2")
    await bucket.put("b.two", b"2")
    await bucket.put("a.one", b"3")
    await bucket.delete("a.two", revision=revision)
    await eventually(lambda: watching.values == {"a.one": b"3", "a.two": None})
    await watching.stop()


async def test_a_watch_that_is_cancelled_ends_however_busy_the_bucket_is(bucket: KeyValue) -> None:
    """A cancellation that comes together with a version must not be dropped with it: the process would never end."""
    busy = asyncio.create_task(write_for_ever(bucket))
    for _ in range(20):
        watching = Watching(bucket)
        await eventually(watching.is_busy)
        async with asyncio.timeout(patient(10)):
            await watching.stop()
    await end_tasks([busy])


async def write_for_ever(bucket: KeyValue) -> None:
    while True:
        await asyncio.gather(*(bucket.put(f"busy.{number}", b"x") for number in range(10)))


async def test_watch_begins_without_what_was_deleted(bucket: KeyValue) -> None:
    await bucket.create("a", b"1")
    await bucket.delete("a")
    await bucket.create("b", b"1")
    watching = Watching(bucket)
    await eventually(lambda: watching.entries)
    assert watching.values == {"b": b"1"}
    await watching.stop()


async def test_of_many_writers_exactly_one_wins(bucket: KeyValue) -> None:
    revision = await bucket.create("a", b"0")
    outcomes = await asyncio.gather(
        *(bucket.update("a", str(n).encode(), revision=revision) for n in range(16)), return_exceptions=True
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, int)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, ConflictError)]
    assert (len(winners), len(losers)) == (1, 15)


@pytest.mark.real
async def test_an_update_whose_acknowledgement_was_lost_is_settled(messaging: Messaging, server: NatsServer) -> None:
    bucket = NatsKeyValue(messaging._connection, "leases", timeout_s=0.5, patience_s=20)  # noqa: SLF001 - short attempts make the loss visible
    revision = await bucket.create("a", b"one")
    await server.pause()
    before = messaging.client.stats["out_msgs"]
    updating = asyncio.create_task(bucket.update("a", b"two", revision=revision))
    # Three attempts are on their way: the first is stored, the others are refused by compare-and-set.
    await eventually(lambda: messaging.client.stats["out_msgs"] >= before + 3)
    await server.resume()
    new = await updating
    entry = await bucket.get("a")
    assert entry == Entry(key="a", value=b"two", revision=new)
    assert new == revision + 1


@pytest.mark.real
async def test_silence_is_a_transient_error(messaging: Messaging, server: NatsServer) -> None:
    bucket = NatsKeyValue(messaging._connection, "leases", timeout_s=0.2, patience_s=0.5)  # noqa: SLF001 - as above
    await server.pause()
    try:
        with pytest.raises(TransientError):
            await bucket.get("a")
        with pytest.raises(TransientError):
            await bucket.create("a", b"one")
        with pytest.raises(TransientError):
            await bucket.keys()
    finally:
        await server.resume()


@pytest.mark.real
async def test_a_bucket_that_is_not_provisioned_is_an_error_not_an_absence(messaging: Messaging) -> None:
    bucket = NatsKeyValue(messaging._connection, "nowhere", patience_s=0.5)  # noqa: SLF001 - as above
    with pytest.raises(TransientError, match="provision"):
        await bucket.get("a")


@pytest.mark.real
async def test_watch_survives_a_server_that_is_killed(messaging: Messaging, server: NatsServer) -> None:
    bucket = messaging.kv("flags")
    await bucket.put("kept", b"1")
    await bucket.put("lapses", b"1")
    watching = Watching(bucket)
    await eventually(lambda: watching.values == {"kept": b"1", "lapses": b"1"})
    await server.kill()
    await eventually(lambda: not messaging.connected)
    await server.start()
    await eventually(lambda: messaging.connected, within=10)
    await bucket.put("kept", b"2")
    await bucket.delete("lapses")
    await bucket.put("new", b"1")
    await eventually(lambda: watching.values == {"kept": b"2", "lapses": None, "new": b"1"}, within=10)
    await watching.stop()


@pytest.mark.real
async def test_watch_survives_the_loss_of_its_consumer(messaging: Messaging) -> None:
    bucket = messaging.kv("flags")
    await bucket.put("a", b"1")
    watching = Watching(bucket)
    await eventually(lambda: watching.entries)
    for consumer in await messaging.jetstream.consumers_info("KV_flags"):
        await messaging.jetstream.delete_consumer("KV_flags", consumer.name)
    await bucket.put("a", b"2")
    await eventually(lambda: watching.values == {"a": b"2"}, within=10)
    await watching.stop()


@pytest.mark.real
async def test_a_watch_that_ends_leaves_no_consumer_behind(messaging: Messaging) -> None:
    bucket = messaging.kv("flags")
    await bucket.put("a", b"1")
    watching = Watching(bucket)
    await eventually(lambda: watching.entries)
    await watching.stop()

    async def none_left() -> bool:
        return await messaging.jetstream.consumers_info("KV_flags") == []

    await eventually(none_left)

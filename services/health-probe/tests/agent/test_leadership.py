"""Holding the lease over a bucket that conflicts, hangs and forgets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio
from health_probe.agent.durable import boottime
from health_probe.agent.leadership import Leadership
from health_probe.agent.lease import founding
from health_probe.agent.lease_store import LeaseStore
from typing_extensions import override
from yaoki.epoch import Epoch
from yaoki.errors import ConflictError, TransientError
from yaoki.leases import ClusterLease, Member
from yaoki.testing import InMemoryKeyValue, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MEMBERS = {name: Member(agent=f"agent-{name}", host="h", port=1) for name in ("pg-a", "pg-b")}
TTL_S, MARGIN_S = 3.0, 1.0


class Bucket(InMemoryKeyValue):
    """May hang, before or after the write."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False
        self.loses_answers = False

    @override
    async def update(self, key: str, value: bytes, *, revision: int, ttl_s: float | None = None) -> int:
        if self.hangs:
            await asyncio.Event().wait()
        written = await super().update(key, value, revision=revision, ttl_s=ttl_s)
        if self.loses_answers:
            raise TransientError("no answer")
        return written


class Side:
    """What the holder depends on, with what happened to it."""

    def __init__(self, directory: Path) -> None:
        self.bucket = Bucket()
        self.armed: list[float] = []
        self.watchdog_refuses = False
        self.grants = False
        self.lost: list[str] = []
        self.bridged: list[float] = []
        self.leadership = Leadership(
            member="pg-a",
            store=LeaseStore(self.bucket, "orders", directory / "lease.json"),
            watchdog=self,
            failsafe=self,
            members=MEMBERS,
            position=lambda: (1, 100),
            on_lost=self._on_lost,
            on_failsafe=self.bridged.append,
        )

    async def arm(self, deadline: float, _epoch: Epoch) -> None:
        if self.watchdog_refuses:
            raise TransientError("the watchdog refuses")
        self.armed.append(deadline)

    async def extend(self, _record: ClusterLease, _within_s: float) -> bool:
        return self.grants

    async def _on_lost(self, reason: str) -> None:
        assert self.leadership.permit is None, "the permit is gone before the server is stopped"
        self.lost.append(reason)

    async def take(self) -> None:
        record = founding("orders", "pg-a", ttl_s=TTL_S, margin_s=MARGIN_S, members=MEMBERS)
        await self.leadership.take(record, over=0)

    async def record(self) -> tuple[ClusterLease, int]:
        entry = await self.bucket.get("orders")
        assert entry is not None
        return msgspec.json.decode(entry.value or b"", type=ClusterLease), entry.revision


@pytest_asyncio.fixture
async def side(tmp_path: Path, virtual: None) -> AsyncIterator[Side]:  # noqa: ARG001 - its leases last virtual seconds
    holder = Side(tmp_path)
    yield holder
    holder.leadership.renounce()


async def test_it_is_renewed_again_and_again(side: Side) -> None:
    """Position and count grow; the watchdog has every deadline before anybody relies on it."""
    await side.take()
    await eventually(lambda: len(side.armed) > 4, within=5)
    record, _ = await side.record()
    assert record.renewals >= 3
    assert record.position == 100
    permit = side.leadership.permit
    assert permit is not None
    assert permit.deadline in side.armed
    assert permit.deadline <= boottime() + TTL_S - MARGIN_S
    assert side.lost == []


async def test_a_revoked_lease_is_lost_and_never_written_again(side: Side) -> None:
    """The renewal loses against the revocation, and reading the record settles it."""
    await side.take()
    record, revision = await side.record()
    revoked = msgspec.structs.replace(record, revoked_by="run-1", revoked_epoch=Epoch(1, 1))
    await side.bucket.update("orders", msgspec.json.encode(revoked), revision=revision)
    await eventually(lambda: side.lost == ["revoked"], within=2)
    assert await side.record() == (revoked, revision + 1)
    assert not side.leadership.may_write()


async def test_a_change_by_somebody_else_that_leaves_the_holder_is_taken_up(side: Side) -> None:
    """Its revision is adopted and renewed over."""
    await side.take()
    record, revision = await side.record()
    changed = msgspec.structs.replace(record, renewals=50)
    await side.bucket.update("orders", msgspec.json.encode(changed), revision=revision)
    await eventually(lambda: _renewals(side, 52), within=3)
    assert side.lost == []


async def _renewals(side: Side, at_least: int) -> bool:
    return (await side.record())[0].renewals >= at_least


async def test_renewals_without_an_answer_gain_no_time(side: Side) -> None:
    """They are stored, one after the other, and the lease lapses all the same."""
    await side.take()
    side.bucket.loses_answers = True
    started = boottime()
    await eventually(lambda: side.lost == ["lease-lapsed"], within=3)
    assert boottime() - started < TTL_S
    assert (await side.record())[0].renewals >= 1


async def test_a_lease_that_cannot_be_renewed_lapses_in_time(side: Side) -> None:
    """NATS hangs and nobody grants: it ends by send time + ttl - margin."""
    await side.take()
    deadline = side.armed[-1]
    side.bucket.hangs = True
    await eventually(lambda: side.lost == ["lease-lapsed"], within=3)
    assert deadline <= boottime() < deadline + MARGIN_S


async def test_grants_bridge_an_outage(side: Side) -> None:
    """Many times the lease without NATS, then back: it was held all along, and it is said for how long."""
    await side.take()
    side.bucket.hangs, side.grants = True, True
    until = boottime() + 4 * TTL_S
    await eventually(lambda: boottime() > until, within=5)
    assert side.leadership.may_write()
    side.bucket.hangs = False
    await eventually(lambda: side.bridged, within=3)
    assert side.bridged[0] > 3 * TTL_S
    assert side.lost == []


async def test_a_deadline_that_the_watchdog_refuses_is_not_used(side: Side) -> None:
    """The old one stands, and lapses."""
    await side.take()
    side.watchdog_refuses = True
    await eventually(lambda: side.lost == ["lease-lapsed"], within=3)


async def test_without_a_watchdog_nothing_is_held(side: Side) -> None:
    """The record may name this member; it still may not write."""
    side.watchdog_refuses = True
    with pytest.raises(TransientError):
        await side.take()
    assert not side.leadership.may_write()


async def test_a_record_that_is_gone_is_written_again_by_its_holder(side: Side) -> None:
    """While it holds a live permit nobody can have been promoted."""
    await side.take()
    await side.bucket.delete("orders")
    await eventually(lambda: _renewals_or_gone(side), within=3)
    assert side.lost == []


async def _renewals_or_gone(side: Side) -> bool:
    return await side.bucket.get("orders") is not None


async def test_a_record_from_the_past_is_not_believed(side: Side) -> None:
    """A NATS that was set back shows a lower epoch than one that was seen."""
    store = LeaseStore(side.bucket, "orders", side.leadership._store.state_file)  # noqa: SLF001 - the file of this holder
    old = founding("orders", "pg-a", ttl_s=TTL_S, margin_s=MARGIN_S, members=MEMBERS)
    await side.bucket.put("orders", msgspec.json.encode(msgspec.structs.replace(old, epoch=Epoch(1, 5))))
    await store.read()
    await side.bucket.put("orders", msgspec.json.encode(old))
    with pytest.raises(TransientError, match="set back"):
        await LeaseStore(side.bucket, "orders", store.state_file).read()


async def test_two_founders_one_record(side: Side, tmp_path: Path) -> None:
    """Created once."""
    await side.take()
    (tmp_path / "other").mkdir()
    other = Side(tmp_path / "other")
    other.bucket = side.bucket
    other.leadership = Leadership(
        member="pg-b",
        store=LeaseStore(side.bucket, "orders", tmp_path / "other" / "lease.json"),
        watchdog=other,
        failsafe=other,
        members=MEMBERS,
        position=lambda: (1, 1),
        on_lost=other._on_lost,  # noqa: SLF001 - its own
        on_failsafe=other.bridged.append,
    )
    with pytest.raises(ConflictError):
        await other.take()
    assert not other.leadership.may_write()

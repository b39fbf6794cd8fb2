"""What the guard says of itself while a claim of the lease is on its way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from health_probe.agent import processes
from health_probe.agent.addresses import ServerAddress
from health_probe.agent.announcer import Announcer
from health_probe.agent.grants import GrantBook
from health_probe.agent.leadership import Leadership
from health_probe.agent.lease import founding
from health_probe.agent.lease_claims import LeaseClaims
from health_probe.agent.lease_store import LeaseStore
from health_probe.agent.lineage import Lineage
from health_probe.agent.observer import Observer
from health_probe.agent.postgres_guard import PostgresGuard
from health_probe.agent.postgres_node import Followed, PostgresNode
from health_probe.agent.postgres_sql import PostgresSql
from health_probe.agent.programs import PasswordFile, ServerUser
from health_probe.agent.synchronous import SynchronousStandbys
from health_probe.agent.watchdog import WatchdogClient
from typing_extensions import override
from yaoki.clock import Uuid7Source
from yaoki.config import LeaseSettings
from yaoki.errors import TransientError
from yaoki.leases import Member
from yaoki.testing import InMemoryKeyValue, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from health_probe.agent.peers import Answers
    from yaoki.epoch import Epoch
    from yaoki.leases import ClusterLease
    from yaoki.messaging.ports import Entry

MEMBERS = {name: Member(agent=f"agent-{name}", host="h", port=1) for name in ("pg-a", "pg-b")}
LEASE = LeaseSettings(ttl=3.0, margin=1.0)


class SlowBucket(InMemoryKeyValue):
    """Stores at once and answers when told to, with nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.stored = asyncio.Event()
        self.answers = asyncio.Event()

    @override
    async def create(self, key: str, value: bytes, *, ttl_s: float | None = None) -> int:
        await super().create(key, value, ttl_s=ttl_s)
        self.stored.set()
        await self.answers.wait()
        raise TransientError("the answer was lost")


class FatalBucket(InMemoryKeyValue):
    """Once armed, the server is dead when the answer to a read arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.armed_for: Path | None = None

    @override
    async def get(self, key: str) -> Entry | None:
        entry = await super().get(key)
        if self.armed_for is not None:
            assert not processes.kill_all(self.armed_for)
        return entry


class Alone:
    """A watchdog, a failsafe and the peers of a member without others."""

    async def ask(self) -> Answers:
        """See `Peers.ask`."""
        return {}

    async def arm(self, _deadline: float, _epoch: Epoch) -> None:
        """See `Guardian.arm`."""

    async def extend(self, _record: ClusterLease, _within_s: float) -> bool:
        """See `Failsafe.extend`."""
        return False


def build_guard(directory: Path, watchdog: WatchdogClient | None = None) -> PostgresGuard:
    """Of a server that was never started."""
    sql = PostgresSql(ServerAddress("127.0.0.1", 1), user="postgres", password=None, database="postgres")
    return PostgresGuard(
        agent="agent-pg-a",
        cluster="orders",
        member="pg-a",
        members=MEMBERS,
        lease=LEASE,
        initial=True,
        node=PostgresNode(
            data_directory=directory / "data",
            binaries=directory,
            user=ServerUser(),
            port=1,
            log_file=directory / "log",
            followed=Followed("replication", PasswordFile(directory / "passwords"), "pg-a"),
        ),
        lineage=Lineage(directory / "lineage.json", directory / "data"),
        sql=sql,
        observer=Observer(sql, interval_s=1.0),
        watchdog=watchdog or WatchdogClient(directory / "data", directory, lambda: None),
        book=GrantBook(directory / "grants.json"),
        announcer=Announcer(Uuid7Source()),
    )


def connect(guard: PostgresGuard, bucket: InMemoryKeyValue, directory: Path) -> Leadership:
    """Give the guard its lease."""
    store = LeaseStore(bucket, "orders", directory / "lease.json")
    leadership = Leadership(
        member="pg-a",
        store=store,
        watchdog=Alone(),
        failsafe=Alone(),
        members=MEMBERS,
        position=guard.observer.position,
        on_lost=guard.life.fence,
        on_failsafe=lambda _: None,
    )
    claims = LeaseClaims(
        cluster="orders",
        member="pg-a",
        members=MEMBERS,
        lease=LEASE,
        store=store,
        leadership=leadership,
        lineage=guard.lineage,
        book=guard.book,
        peers=Alone(),
        timeline=guard.node.timeline,
    )
    synchronous = SynchronousStandbys(
        member="pg-a",
        configured=0,
        candidates=MEMBERS,
        grace_s=1.0,
        sql=guard.sql,
        leadership=leadership,
        announce=lambda _: None,
    )
    guard.connect(claims, synchronous)
    return leadership


async def test_a_claim_on_its_way_counts_as_holding_the_lease(tmp_path: Path) -> None:
    """It may be stored without an answer: "nothing runs here and nothing will be started" would be a lie."""
    guard, bucket = build_guard(tmp_path), SlowBucket()
    leadership = connect(guard, bucket, tmp_path)
    assert not guard.holds()

    record = founding("orders", "pg-a", ttl_s=LEASE.ttl, margin_s=LEASE.margin, members=MEMBERS)
    claim = asyncio.create_task(leadership.take(record, over=0))
    await bucket.stored.wait()

    assert guard.holds()
    assert leadership.permit is None

    bucket.answers.set()
    with pytest.raises(TransientError, match="lost"):
        await claim
    await eventually(lambda: not guard.holds(), within=1)


async def test_a_crash_in_the_middle_of_a_round_is_left_to_recovery(tmp_path: Path) -> None:
    """Between looking for a crash and acting the record is read; who dies meanwhile is not started again."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("18\n")
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    program.chmod(0o755)
    watchdog = WatchdogClient(data, tmp_path, lambda: None)
    guard, bucket = build_guard(tmp_path, watchdog), FatalBucket()
    leadership = connect(guard, bucket, tmp_path)
    await watchdog.attach()
    await leadership.take(founding("orders", "pg-a", ttl_s=60, margin_s=1.0, members=MEMBERS), over=0)
    try:
        await guard.reconcile()
        assert guard.node.postmaster() is not None

        bucket.armed_for = data
        for _ in range(3):
            await guard.reconcile()

        assert guard.node.working() == frozenset()
        assert guard.life.renounced() is not None
        assert leadership.permit is None
    finally:
        processes.kill_all(data)
        await watchdog.quit()

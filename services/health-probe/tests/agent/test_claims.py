"""Taking a lease that nobody gave: only by who remembers it, or against whom nobody objects."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from health_probe.agent.durable import boottime
from health_probe.agent.failsafe import GrantRequest
from health_probe.agent.grants import GrantBook
from health_probe.agent.leadership import Leadership
from health_probe.agent.lease import founding
from health_probe.agent.lease_claims import LeaseClaims
from health_probe.agent.lease_store import LeaseStore
from health_probe.agent.lineage import Lineage
from health_probe.agent.peers import Answers, objection
from hypothesis import given
from hypothesis import strategies as st
from yaoki.commands.agent import AgentStatus
from yaoki.config import LeaseSettings
from yaoki.epoch import NO_EPOCH, Epoch
from yaoki.errors import TransientError
from yaoki.leases import ClusterLease, Member
from yaoki.testing import InMemoryKeyValue, eventually

if TYPE_CHECKING:
    from pathlib import Path

TTL_S, MARGIN_S = 3.0, 1.0
NAMES = ("pg-a", "pg-b", "pg-c")
MEMBERS = {name: Member(agent=f"agent-{name}", host="h", port=1) for name in NAMES}


def answer(member: str = "pg-b", **changes: Any) -> AgentStatus:
    """A standby that has seen nothing but the first primary."""
    values: dict[str, Any] = {
        "agent": f"agent-{member}",
        "cluster": "orders",
        "member": member,
        "kind": "postgres",
        "running": True,
        "accepting": True,
        "role": "standby",
        "epoch": NO_EPOCH,
        "timeline": 1,
    }
    return AgentStatus(**{**values, **changes})


class Host:
    """pg-a with its disk, which may be lost, and what the others say to it."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.bucket = InMemoryKeyValue()
        self.answers: Answers = {name: answer(name) for name in NAMES[1:]}
        self.asked = 0
        self.start()

    def start(self) -> None:
        """A new agent on the same disk."""
        self.disk.mkdir(exist_ok=True)
        self.book = GrantBook(self.disk / "grants.json")
        store = LeaseStore(self.bucket, "orders", self.disk / "lease.json")
        self.leadership = Leadership(
            member="pg-a",
            store=store,
            watchdog=self,
            failsafe=self,
            members=MEMBERS,
            position=lambda: (1, 100),
            on_lost=self._on_lost,
            on_failsafe=lambda _: None,
        )
        self.claims = LeaseClaims(
            cluster="orders",
            member="pg-a",
            members=MEMBERS,
            lease=LeaseSettings(ttl=TTL_S, margin=MARGIN_S),
            store=store,
            leadership=self.leadership,
            lineage=Lineage(self.disk / "lineage.json", self.disk),
            book=self.book,
            peers=self,
            timeline=lambda: 1,
        )

    def lose_disk(self) -> None:
        """The state directory is gone; the agent starts with an empty one."""
        self.leadership.renounce()
        shutil.rmtree(self.disk)
        self.start()

    def restart(self) -> None:
        """The agent alone."""
        self.leadership.renounce()
        self.start()

    async def arm(self, _deadline: float, _epoch: Epoch) -> None:
        """See `Guardian.arm`."""

    async def extend(self, _record: ClusterLease, _within_s: float) -> bool:
        """See `Failsafe.extend`."""
        return False

    async def ask(self) -> Answers:
        """See `Peers.ask`."""
        self.asked += 1
        return self.answers

    async def _on_lost(self, _reason: str) -> None:
        """No server to stop."""

    async def found(self) -> bool:
        """Try to found the cluster, long after its record was last seen."""
        await self.claims.read()
        since = boottime()
        await eventually(lambda: boottime() - since > TTL_S, within=5)
        return await self.claims.found()

    async def put(self, **changes: Any) -> None:
        """Write the record as somebody else would, over whatever is there."""
        first = founding("orders", "pg-a", ttl_s=TTL_S, margin_s=MARGIN_S, members=MEMBERS)
        await self.bucket.put("orders", msgspec.json.encode(msgspec.structs.replace(first, **changes)))

    async def grant(self, seconds: float) -> None:
        """Promise pg-b not to take the lease."""
        async with self.book.lock:
            self.book.give(
                GrantRequest(cluster="orders", holder="pg-b", member="pg-a", epoch=Epoch(1, 5), seconds=seconds)
            )


@pytest.fixture
def host(tmp_path: Path, virtual: None) -> Host:  # noqa: ARG001 - its leases last virtual seconds
    return Host(tmp_path / "disk")


OBJECTIONS: list[tuple[AgentStatus | None, str]] = [
    (None, "the agent of pg-c does not answer"),
    (answer("pg-c", holder=True), "pg-c is the primary"),
    (answer("pg-c", role="primary"), "pg-c is the primary"),
    (answer("pg-c", granted_s=1.5), "pg-c has granted the holder to go on without NATS for another 1.5 s"),
    (answer("pg-c", epoch=Epoch(1, 7)), "the agent of pg-c knows epoch"),
    (answer("pg-c", running=False, timeline=2), "the directory of pg-c is on timeline 2, this one on 1"),
]


async def test_a_new_cluster_is_founded_when_nobody_objects(host: Host) -> None:
    assert await host.found()
    assert host.leadership.may_write()
    host.leadership.renounce()


@pytest.mark.parametrize(("third", "reason"), OBJECTIONS)
async def test_an_empty_nats_is_not_believed_against_another_member(
    host: Host, third: AgentStatus | None, reason: str
) -> None:
    host.answers["pg-c"] = third

    with pytest.raises(TransientError, match=reason):
        await host.found()
    assert await host.bucket.get("orders") is None
    assert not host.leadership.may_write()


@pytest.mark.parametrize(("third", "reason"), OBJECTIONS)
async def test_an_old_record_is_not_believed_by_who_lost_its_memory(
    host: Host, third: AgentStatus | None, reason: str
) -> None:
    """NATS was restored from a copy in which pg-a still held the lease; a restart in between makes nothing truer."""
    host.lose_disk()
    await host.put(epoch=Epoch(1, 3))
    host.answers["pg-c"] = third

    for _ in range(2):
        await host.claims.read()
        with pytest.raises(TransientError, match=reason):
            await host.claims.acquire()
        host.restart()
    assert not host.leadership.may_write()


async def test_a_record_that_is_remembered_is_taken_without_asking(host: Host) -> None:
    """A crashed primary comes back while the others are away."""
    assert await host.found()
    asked = host.asked
    host.restart()
    host.answers = dict.fromkeys(NAMES[1:])

    await host.claims.read()
    assert await host.claims.acquire()
    assert host.asked == asked
    host.leadership.renounce()


async def test_no_lease_is_taken_while_a_grant_of_this_member_runs(host: Host) -> None:
    """pg-b goes on by it where NATS does not reach; whatever NATS shows here says nothing about that."""
    assert await host.found()
    host.restart()
    await host.grant(1.5 * TTL_S)

    await host.claims.read()
    assert not await host.claims.acquire()
    assert not host.leadership.may_write()
    await eventually(lambda: not host.book.remaining(), within=5)
    assert await host.claims.acquire()
    host.leadership.renounce()


async def test_no_cluster_is_founded_while_a_grant_of_this_member_runs(host: Host) -> None:
    await host.claims.read()
    since = boottime()
    await eventually(lambda: boottime() - since > TTL_S, within=5)
    await host.grant(TTL_S)

    assert not await host.claims.found()
    assert await host.bucket.get("orders") is None


knowledge = st.builds(
    answer,
    running=st.booleans(),
    role=st.sampled_from(("primary", "standby", "unknown")),
    holder=st.booleans(),
    granted_s=st.sampled_from((0.0, 0.5)),
    epoch=st.builds(Epoch, st.just(1), st.integers(0, 4)),
    timeline=st.integers(0, 3),
)


@given(answers=st.dictionaries(st.sampled_from(NAMES[1:]), st.none() | knowledge), counter=st.integers(0, 4))
def test_silence_is_no_consent_and_more_knowledge_always_counts(answers: Answers, counter: int) -> None:
    epoch, timeline = Epoch(1, counter), 2

    if not objection(answers, epoch=epoch, timeline=timeline):
        for status in answers.values():
            assert status is not None
            assert not status.holder
            assert not status.granted_s
            assert (status.epoch, status.timeline) <= (epoch, status.timeline)
            assert status.timeline <= timeline

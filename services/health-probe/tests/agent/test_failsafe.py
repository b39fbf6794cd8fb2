"""Who may be granted what, and whose requests are believed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest
from health_probe.agent.durable import boottime
from health_probe.agent.failsafe import (
    Grant,
    GrantRequest,
    ReplayGuard,
    after_restart,
    granted,
    may_extend,
    must_grant,
    refusal,
    signature,
)
from health_probe.agent.failsafe_client import FailsafeClient
from health_probe.agent.grants import NONCE, PATH, SIGNATURE, TIMESTAMP, GrantBook, GrantEndpoint
from starlette.applications import Starlette
from starlette.routing import Route
from yaoki.epoch import NO_EPOCH, Epoch
from yaoki.errors import RejectedError
from yaoki.leases import ClusterLease, Member

if TYPE_CHECKING:
    from pathlib import Path

MEMBERS = {name: Member(agent=f"agent-{name}", host="h", port=1) for name in ("pg-a", "pg-b", "pg-c")}
RECORD = ClusterLease(cluster="orders", holder="pg-a", epoch=Epoch(1, 5), ttl_s=3, margin_s=1, members=MEMBERS)
ASK = GrantRequest(cluster="orders", holder="pg-a", member="pg-b", epoch=Epoch(1, 5), seconds=3.0)


def refused(
    request: GrantRequest = ASK,
    *,
    grant: Grant | None = None,
    known: ClusterLease | None = None,
    writable: bool = False,
) -> str:
    return refusal(request, cluster="orders", member="pg-b", grant=grant or Grant(), known=known, writable=writable)


def test_the_holder_is_granted() -> None:
    """With the record known and without."""
    assert not refused()
    assert not refused(known=RECORD)


@pytest.mark.parametrize(
    "reason",
    [
        refused(msgspec.structs.replace(ASK, member="pg-c")),
        refused(msgspec.structs.replace(ASK, cluster="other")),
        refused(msgspec.structs.replace(ASK, seconds=0.0)),
        refused(msgspec.structs.replace(ASK, seconds=float("nan"))),
        refused(msgspec.structs.replace(ASK, seconds=1e6)),
        refused(writable=True),
        refused(grant=Grant(promised=Epoch(1, 6))),
        refused(known=msgspec.structs.replace(RECORD, epoch=Epoch(1, 6))),
        refused(known=msgspec.structs.replace(RECORD, holder="pg-c")),
        refused(known=msgspec.structs.replace(RECORD, revoked_by="run-1")),
    ],
)
def test_everybody_else_is_refused_with_a_reason(reason: str) -> None:
    """Another member's or cluster's, senseless, to a holder, against a promise, for a lease that is gone."""
    assert reason


def test_all_promotable_members_have_to_grant() -> None:
    """By the record and by the configuration; unknown or empty membership is no membership."""
    assert must_grant("pg-a", MEMBERS, MEMBERS) == frozenset({"pg-b", "pg-c"})
    assert must_grant("pg-a", {**MEMBERS, "pg-d": MEMBERS["pg-b"]}, MEMBERS) == frozenset({"pg-b", "pg-c", "pg-d"})
    witness = {**MEMBERS, "pg-c": msgspec.structs.replace(MEMBERS["pg-c"], promotable=False)}
    assert must_grant("pg-a", witness, witness) == frozenset({"pg-b"})
    assert must_grant("pg-a", {}, MEMBERS) is None
    assert not may_extend(None, MEMBERS)
    assert not may_extend(frozenset({"pg-b", "pg-c"}), {"pg-b"})
    assert may_extend(frozenset({"pg-b", "pg-c"}), {"pg-b", "pg-c"})


def test_a_grant_runs_anew_after_a_reboot() -> None:
    """CLOCK_BOOTTIME starts again; nobody knows how much has passed."""
    before = granted(Grant(), ASK, boot_id="one", now=100.0)
    assert before.remaining(101.0) == 2.0
    assert after_restart(before, "one", 101.0).remaining(101.0) == 2.0
    assert after_restart(before, "two", 5.0).remaining(5.0) == 3.0


def test_a_shorter_grant_does_not_shorten_a_longer_one() -> None:
    """What was promised stands."""
    long = granted(Grant(), msgspec.structs.replace(ASK, seconds=10.0), boot_id="one", now=100.0)
    assert granted(long, ASK, boot_id="one", now=101.0).until == 110.0


def test_a_request_is_accepted_once_and_in_its_time() -> None:
    """Replays, old ones, ones from the future and from before the start are refused."""
    guard = ReplayGuard(started=1000.0)
    guard.check("1001", "n1", 1001.0)
    for timestamp, nonce, now in (
        ("1001", "n1", 1002.0),
        ("999", "n2", 1001.0),
        ("1100", "n3", 1001.0),
        ("x", "n", 1.0),
    ):
        with pytest.raises(RejectedError):
            guard.check(timestamp, nonce, now)


def test_grants_and_promises_are_read_back(tmp_path: Path) -> None:
    """From the disk, by the next agent."""
    book = GrantBook(tmp_path / "grants.json")
    book.give(ASK)
    book.accept_promotion(Epoch(1, 7))
    again = GrantBook(tmp_path / "grants.json")
    assert 2.0 < again.remaining() <= 3.0
    assert again.grant.promised == Epoch(1, 7)


def test_an_unreadable_book_forbids_promotion(tmp_path: Path) -> None:
    """Nobody knows what was promised: the longest grant there is."""
    (tmp_path / "grants.json").write_text("{", encoding="utf-8")
    assert GrantBook(tmp_path / "grants.json").remaining() > 500


class Endpoint:
    """The standby's endpoint behind the holder's client, without a socket."""

    def __init__(self, tmp_path: Path) -> None:
        self.book = GrantBook(tmp_path / "grants.json")
        endpoint = GrantEndpoint(
            cluster="orders", member="pg-b", secret="s", book=self.book, known=lambda: None, writable=lambda: False
        )
        self.app = Starlette(routes=[Route(PATH, endpoint.answer, methods=["POST"])])


async def test_holder_and_standby_agree_on_the_secret(tmp_path: Path) -> None:
    """The same secret grants; another one grants nothing and writes nothing."""
    members = {
        name: msgspec.structs.replace(m, failsafe_url="http://b") for name, m in MEMBERS.items() if name != "pg-c"
    }
    record = msgspec.structs.replace(RECORD, members=members)
    for secret, expected in (("s", True), ("other", False)):
        directory = tmp_path / secret
        directory.mkdir()
        endpoint = Endpoint(directory)
        client = FailsafeClient(
            member="pg-a", members=members, secret=secret, transport=httpx.ASGITransport(app=endpoint.app)
        )
        asked = boottime()
        assert await client.extend(record, within_s=2.0) is expected
        assert (endpoint.book.grant.until >= asked + 3.0) is expected
        await client.close()


async def test_a_replayed_or_changed_request_is_refused(tmp_path: Path) -> None:
    """Bytes taken from the wire cannot be used again, nor changed."""
    endpoint = Endpoint(tmp_path)
    body, sent, nonce = msgspec.json.encode(ASK), f"{time.time():.6f}", "abc"
    headers = {
        TIMESTAMP: sent,
        NONCE: nonce,
        SIGNATURE: signature("s", direction="ask", timestamp=sent, nonce=nonce, body=body),
    }
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=endpoint.app), base_url="http://b") as client:
        assert (await client.post(PATH, content=body, headers=headers)).status_code == 200
        assert (await client.post(PATH, content=body, headers=headers)).status_code == 401
        changed = msgspec.json.encode(msgspec.structs.replace(ASK, seconds=500.0))
        assert (await client.post(PATH, content=changed, headers={**headers, NONCE: "n2"})).status_code == 401
        assert (await client.post(PATH, content=b"x" * 5000, headers=headers)).status_code == 401
    assert endpoint.book.grant.seconds == 3.0
    assert endpoint.book.grant.promised == NO_EPOCH

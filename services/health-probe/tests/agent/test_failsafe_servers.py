"""NATS is away: the holder goes on exactly as long as every promotable standby's agent lets it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import msgspec
import pytest
from health_probe.agent.durable import boottime
from nats.js.errors import NotFoundError
from yaoki.epoch import Epoch
from yaoki.events.agent import FailsafeEntered
from yaoki.leases import BUCKET
from yaoki.testing import eventually, patient

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from .conftest import Guarded

    StartCluster = Callable[..., AbstractAsyncContextManager[Guarded]]

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]
OUTAGE_S = 24.0


async def test_the_primary_serves_through_an_outage_of_nats(start_cluster: StartCluster) -> None:
    """NATS killed for several times the lease: commits go on all along, nothing is restarted."""
    async with start_cluster(ttl_s=6.0) as guarded:
        serving = guarded.processes("pg-a")
        await guarded.nats.kill()
        over = boottime() + OUTAGE_S
        while boottime() < over:
            await eventually(lambda: guarded.writes("pg-a"), within=10)
        assert serving & guarded.processes("pg-a"), "the server was restarted"
        await guarded.nats.start()
        before = await _renewals(guarded)
        await eventually(lambda: _renewed(guarded, before), within=20)
        await eventually(lambda: guarded.serves("pg-a"), within=20)
        await eventually(lambda: _bridged(guarded), within=10)


async def _bridged(guarded: Guarded) -> bool:
    subject = guarded.messaging.subjects.event("agent", "agent-pg-a", "failsafe-entered")
    try:
        message = await guarded.messaging.jetstream.get_last_msg("EVENTS", subject)
    except NotFoundError:
        return False
    return msgspec.json.decode(message.data or b"", type=FailsafeEntered).seconds > OUTAGE_S / 2


async def _renewals(guarded: Guarded) -> int:
    entry = await eventually(guarded.entry, within=20)
    return entry[0].renewals if entry else 0


async def _renewed(guarded: Guarded, before: int) -> bool:
    return (await guarded.record()).renewals > before


async def test_one_standby_agent_away_ends_the_failsafe(start_cluster: StartCluster) -> None:
    """Two standbys, one of their agents dead: it might be promoted by whom we cannot see, so the holder stops."""
    async with start_cluster(standbys=2) as guarded:
        guarded.agents["pg-c"].kill()
        await guarded.nats.kill()
        await eventually(lambda: not guarded.processes("pg-a"), within=guarded.ttl_s + 5)
        assert guarded.processes("pg-b")


async def test_without_failsafe_addresses_the_holder_stops(start_cluster: StartCluster) -> None:
    """Nobody can be asked: no extension."""
    async with start_cluster(failsafe=False) as guarded:
        await guarded.nats.kill()
        await eventually(lambda: not guarded.processes("pg-a"), within=guarded.ttl_s + 5)


async def test_a_demoted_holder_serves_again_when_nats_is_back(start_cluster: StartCluster) -> None:
    """Nobody revoked its lease meanwhile: it renews it and starts."""
    async with start_cluster(failsafe=False, founded=False) as guarded:
        await guarded.nats.kill()
        await eventually(lambda: not guarded.processes("pg-a"), within=guarded.ttl_s + 5)
        await guarded.nats.start()
        await eventually(lambda: guarded.serves("pg-a"), within=30)


async def test_a_grant_forbids_the_promotion_also_after_the_agent_restarts(start_cluster: StartCluster) -> None:
    """A long lease, NATS away, a grant given; NATS back, revoked: promotion refused until the grant has lapsed."""
    async with start_cluster(ttl_s=patient(7.0)) as guarded:
        agent = guarded.agents["pg-b"]
        await guarded.nats.kill()
        grants = agent.state_directory / "grants.json"
        await eventually(lambda: grants.exists() and _granted_until(grants) > boottime(), within=30)
        guarded.agents["pg-a"].signal(signal.SIGSTOP)
        agent.kill()
        agent.start()
        await guarded.nats.start()
        await eventually(lambda: _revoked(guarded), within=20)
        await eventually(lambda: guarded.answers("pg-b"), within=20)
        status = await guarded.wait_status("pg-b")
        assert status.granted_s > 0, "the machine was too slow for this lease"
        outcome = await guarded.order("pg-b", "postgres.promote", Epoch(1, 1))
        assert (outcome.status, outcome.error_code) == ("refused", "unsafe"), outcome
        await eventually(lambda: _granted_until(grants) < boottime(), within=30)
        outcome = await guarded.order("pg-b", "postgres.promote", Epoch(1, 1))
        assert outcome.status == "succeeded", outcome
        guarded.agents["pg-a"].signal(signal.SIGCONT)


def _granted_until(grants: Path) -> float:
    return float(msgspec.json.decode(grants.read_bytes())["until"])


async def _revoked(guarded: Guarded) -> bool:
    found = await guarded.messaging.kv(BUCKET).get("orders")
    if found is None:
        return False
    await guarded.revoke(Epoch(1, 1))
    return True

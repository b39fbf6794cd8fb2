"""An old primary cannot write beside a new one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import pytest
from nats.js.errors import NotFoundError
from yaoki.epoch import Epoch
from yaoki.leases import BUCKET
from yaoki.testing import eventually, patient
from yaoki_devstack.process import spawn

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from .conftest import AgentProcess, Guarded

    StartCluster = Callable[..., AbstractAsyncContextManager[Guarded]]

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


async def test_a_paused_server_is_fenced_by_its_agent_and_writes_nothing_after_sigcont(pair: Guarded) -> None:
    """SIGSTOP of the whole server, revocation: killed although frozen, long before the lease would end."""
    node = pair.nodes["pg-a"]
    paused = pair.processes("pg-a")
    await node.pause()
    await pair.revoke(Epoch(1, 1))
    await eventually(lambda: not pair.processes("pg-a"), within=5)
    for pid in paused:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert not pair.processes("pg-a")
    assert not await pair.writes("pg-a")
    await pair.wait_status("pg-a", running=False, holder=False)
    outcome = await pair.order("pg-b", "postgres.promote", Epoch(1, 1))
    assert outcome.status == "succeeded", outcome
    assert outcome.result["timeline"] == 2
    await eventually(lambda: pair.serves("pg-b"), within=10)


async def test_a_paused_host_acknowledges_nothing_after_the_promotion(start_cluster: StartCluster) -> None:
    """Server, agent and watchdog stand still, then wake: with a synchronous standby no commit is acknowledged."""
    async with start_cluster(synchronous=1) as guarded:
        await eventually(lambda: _promised(guarded, 1), within=10)
        connection = await asyncpg.connect(guarded.nodes["pg-a"].dsn("superuser", database="app"))
        await connection.execute("CREATE TABLE ledger (n int)")
        agent = guarded.agents["pg-a"]
        server, guards = guarded.processes("pg-a"), [agent.watchdog_pid(), agent.pid]
        for pid in [*guards, *server]:
            os.kill(pid, signal.SIGSTOP)
        outcome = await guarded.failover("pg-b", Epoch(1, 1))
        assert outcome.status == "succeeded", outcome
        late = asyncio.create_task(connection.execute("INSERT INTO ledger VALUES (1)"))
        await eventually(lambda: guarded.writes("pg-b"), within=10)
        for pid in server:  # the worst order: the server is awake for a second before its watchdog
            os.kill(pid, signal.SIGCONT)
        assert not (await asyncio.wait({late}, timeout=1.0))[0], "a commit was acknowledged"
        for pid in guards:
            os.kill(pid, signal.SIGCONT)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await late
        await eventually(lambda: guarded.streams("pg-a"), within=30)
        assert await guarded.nodes["pg-b"].psql("SELECT count(*) FROM ledger", database="app") == "0"


async def _promised(guarded: Guarded, required: int) -> bool:
    return (await guarded.record()).synchronous_required == required


async def test_a_killed_postmaster_leaves_no_orphan_that_commits(pair: Guarded) -> None:
    """A busy backend without postmaster would commit later; the agent kills it, says so and starts nothing."""
    node = pair.nodes["pg-a"]
    connection = await asyncpg.connect(node.dsn("superuser", database="app"))
    await connection.execute("CREATE TABLE orphans (n int)")
    busy = asyncio.create_task(
        connection.execute(
            # Computes without looking at its latch, as a long-running statement does.
            "DO $$ DECLARE until timestamptz := clock_timestamp() + '60 s'; BEGIN "
            "INSERT INTO orphans VALUES (1); WHILE clock_timestamp() < until LOOP END LOOP; END $$"
        )
    )
    observer = await asyncpg.connect(node.dsn("superuser", database="app"))
    await eventually(lambda: _is_busy(observer), within=20)
    await node.kill_postmaster_only()
    await eventually(lambda: not pair.processes("pg-a"), within=10)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await busy
    await pair.wait_status("pg-a", running=False, holder=False)
    await pair.revoke(Epoch(1, 1))
    outcome = await pair.order("pg-b", "postgres.promote", Epoch(1, 1))
    assert outcome.status == "succeeded", outcome


async def _is_busy(observer: asyncpg.Connection[asyncpg.Record]) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO %'"
    return bool(await observer.fetchval(query))


async def test_a_revoked_holder_cannot_renew(pair: Guarded) -> None:
    """After the revocation no renewal gets into the record, and the holder's server is gone at once."""
    await pair.revoke(Epoch(1, 1))
    entry = await pair.entry()
    assert entry is not None
    record, revision = entry
    await eventually(lambda: not pair.processes("pg-a"), within=5)
    await pair.wait_status("pg-a", holder=False)
    await eventually(lambda: _was_stopped(pair, "revoked"), within=10)
    assert await pair.entry() == (record, revision)


async def _was_stopped(guarded: Guarded, reason: str) -> bool:
    return await guarded.stopped_reason("pg-a") == reason


async def test_a_terminated_agent_stops_its_server_and_takes_it_up_again(pair: Guarded) -> None:
    """SIGTERM: status 0, no process, no watchdog; started again it renews its own lease. No failover happens."""
    agent = pair.agents["pg-a"]
    agent.signal(signal.SIGTERM)
    assert await asyncio.to_thread(agent.wait) == 0
    assert not pair.processes("pg-a")
    await eventually(lambda: not agent.has_watchdog(), within=10)
    await eventually(lambda: _was_stopped(pair, "shutdown"), within=10)
    agent.start()
    await eventually(lambda: pair.serves("pg-a"), within=20)
    assert (await pair.record()).holder == "pg-a"


async def test_durability_is_given_up_and_restored_aloud(start_cluster: StartCluster) -> None:
    """The synchronous standby dies: commits go on, the record promises nothing, then everything is back."""
    async with start_cluster(synchronous=1) as guarded:
        await eventually(lambda: _promised(guarded, 1), within=15)
        guarded.agents["pg-b"].kill()
        await guarded.nodes["pg-b"].kill()
        await eventually(lambda: _promised(guarded, 0), within=15)
        await eventually(lambda: guarded.writes("pg-a"), within=10)
        await eventually(lambda: _said(guarded, "durability-degraded"), within=10)
        guarded.agents["pg-b"].start()
        await eventually(lambda: _promised(guarded, 1), within=30)
        await eventually(lambda: _said(guarded, "durability-restored"), within=10)


async def _said(guarded: Guarded, event: str) -> bool:
    subject = guarded.messaging.subjects.event("recovery", "orders", event)
    try:
        await guarded.messaging.jetstream.get_last_msg("EVENTS", subject)
    except NotFoundError:
        return False
    return True


async def test_a_holder_that_wakes_after_its_revocation_cannot_renew(pair: Guarded) -> None:
    """The renewal that it had in mind meets the revocation and loses."""
    agent = pair.agents["pg-a"]
    agent.signal(signal.SIGSTOP)
    await pair.revoke(Epoch(1, 1))
    entry = await pair.entry()
    agent.signal(signal.SIGCONT)
    await eventually(lambda: not pair.processes("pg-a"), within=10)
    await pair.wait_status("pg-a", holder=False)
    assert await pair.entry() == entry


async def test_of_two_promotions_only_the_newer_one_happens(start_cluster: StartCluster) -> None:
    """Two standbys, two epochs, the older order late: one primary."""
    async with start_cluster(standbys=2) as guarded:
        await guarded.revoke(Epoch(1, 1), run="run-1")
        assert (await guarded.failover("pg-b", Epoch(1, 2))).status == "succeeded"
        late = await guarded.order("pg-c", "postgres.promote", Epoch(1, 1))
        assert late.status == "refused"
        assert late.error_code == "stale_epoch"
        await eventually(lambda: guarded.streams("pg-c"), within=20)
        await eventually(lambda: guarded.serves("pg-b"), within=10)
        assert (await guarded.record()).holder == "pg-b"


async def test_a_later_leader_repeats_the_promotion_and_finds_it_done(pair: Guarded) -> None:
    """A successor's order carries its own, higher epoch: it is answered by what is there, and nothing happens twice."""
    assert (await pair.failover("pg-b", Epoch(1, 2))).status == "succeeded"
    await eventually(lambda: pair.serves("pg-b"), within=10)

    repeated = await pair.order("pg-b", "postgres.promote", Epoch(1, 7))

    assert (repeated.status, repeated.result.get("timeline")) == ("succeeded", 2), repeated
    assert (await pair.record()).holder == "pg-b"
    await eventually(lambda: pair.serves("pg-b"), within=10)


async def test_a_later_leader_finishes_a_promotion_that_its_agent_did_not_live_to_begin(pair: Guarded) -> None:
    """The record names the standby, and nobody told its server: the next leader's order does, with its own epoch."""
    await pair.order("pg-a", "postgres.stop", Epoch(1, 1), mode="fast")
    await pair.revoke(Epoch(1, 1))
    entry = await pair.entry()
    assert entry is not None
    taken = msgspec.structs.replace(entry[0], holder="pg-b", epoch=Epoch(1, 2), revoked_by="")
    await pair.messaging.kv(BUCKET).update("orders", msgspec.json.encode(taken), revision=entry[1])

    finished = await pair.order("pg-b", "postgres.promote", Epoch(1, 7))

    assert (finished.status, finished.result.get("timeline")) == ("succeeded", 2), finished
    assert (await pair.record()).epoch == Epoch(1, 7)
    await eventually(lambda: pair.serves("pg-b"), within=10)


async def test_of_two_promotions_at_the_same_time_one_happens(start_cluster: StartCluster) -> None:
    """Both orders start from the same record: compare-and-set lets one through."""
    async with start_cluster(standbys=2) as guarded:
        await guarded.order("pg-a", "postgres.stop", Epoch(1, 1), mode="fast")
        await guarded.revoke(Epoch(1, 1))
        outcomes = await asyncio.gather(
            guarded.order("pg-b", "postgres.promote", Epoch(1, 2)),
            guarded.order("pg-c", "postgres.promote", Epoch(1, 3)),
        )
        assert sorted(outcome.status == "succeeded" for outcome in outcomes) == [False, True], outcomes
        winner, loser = ("pg-b", "pg-c") if outcomes[0].status == "succeeded" else ("pg-c", "pg-b")
        assert (await guarded.record()).holder == winner
        await eventually(lambda: guarded.streams(loser), within=20)


async def test_a_promotion_without_revocation_is_refused(pair: Guarded) -> None:
    """While somebody holds the lease nobody is promoted, whatever the epoch; the standby stays one."""
    outcome = await pair.order("pg-b", "postgres.promote", Epoch(9, 9))
    assert (outcome.status, outcome.error_code) == ("refused", "unsafe")
    await pair.wait_status("pg-b", role="standby")
    await eventually(lambda: pair.serves("pg-a"), within=10)


async def test_a_stopped_primary_stays_stopped_until_somebody_holds_the_lease(pair: Guarded) -> None:
    """`postgres.stop` proves zero processes, nothing is started while the lease is revoked; then it rejoins."""
    await pair.revoke(Epoch(1, 1))
    outcome = await pair.order("pg-a", "postgres.stop", Epoch(1, 1), mode="fast")
    assert (outcome.status, outcome.result["processes"]) == ("succeeded", 0)
    assert (await pair.order("pg-b", "postgres.promote", Epoch(1, 1))).status == "succeeded"
    await eventually(lambda: pair.streams("pg-a"), within=30)


async def test_a_reinstated_holder_serves_again(pair: Guarded) -> None:
    """Revoked, stopped, and the revocation taken back because nobody could be promoted."""
    await pair.revoke(Epoch(1, 1))
    await pair.order("pg-a", "postgres.stop", Epoch(1, 1), mode="fast")
    entry = await pair.entry()
    assert entry is not None
    back = msgspec.structs.replace(entry[0], revoked_by="", epoch=Epoch(1, 1))
    await pair.messaging.kv(BUCKET).update("orders", msgspec.json.encode(back), revision=entry[1])
    await eventually(lambda: pair.serves("pg-a"), within=15)


async def test_a_program_of_another_name_in_the_directory_is_killed_too(pair: Guarded) -> None:
    """Proof that nobody is left does not depend on how a program is called."""
    node = pair.nodes["pg-a"]
    stranger = spawn(["sleep", "600"], cwd=node.data_dir, log_file=node.directory / "sleep.log", identity=node.identity)
    await eventually(lambda: stranger.pid in pair.processes("pg-a"), within=10)
    await pair.revoke(Epoch(1, 1))
    await eventually(lambda: not pair.processes("pg-a"), within=10)
    assert stranger.wait(timeout=patient(10)) == -signal.SIGKILL


async def test_the_initial_primary_does_not_found_the_cluster_anew(pair: Guarded) -> None:
    """A NATS that lost the record while another was primary: the old one does not take itself for the first one."""
    first, second = pair.agents["pg-a"], pair.agents["pg-b"]
    first.kill()
    assert (await pair.failover("pg-b", Epoch(1, 1))).status == "succeeded"
    second.kill()
    await eventually(lambda: not pair.processes("pg-b"), within=pair.ttl_s + 5)
    await pair.messaging.kv(BUCKET).delete("orders")
    first.start()

    async def decided() -> bool:
        return "NATS has lost its data" in first.log() or await pair.entry() is not None

    await eventually(decided, within=60)
    assert await pair.entry() is None
    assert not pair.processes("pg-a")


async def lose_state(agent: AgentProcess) -> None:
    """The directory goes; the watchdog, which nobody can speak to any more, then makes room for another."""
    watchdog = agent.watchdog_pid()
    shutil.rmtree(agent.state_directory)
    await eventually(lambda: not Path(f"/proc/{watchdog}").exists(), within=45)


async def test_a_member_that_lost_its_memory_believes_the_others_rather_than_an_empty_nats(pair: Guarded) -> None:
    """pg-b was the primary last. With NATS and its state empty pg-a founds nothing, by epoch or by timeline."""
    first, second = pair.agents["pg-a"], pair.agents["pg-b"]
    first.kill()
    assert (await pair.failover("pg-b", Epoch(1, 1))).status == "succeeded"
    second.kill()
    await eventually(lambda: not pair.processes("pg-b"), within=pair.ttl_s + 5)
    await pair.messaging.kv(BUCKET).delete("orders")
    await lose_state(first)

    first.start()
    await eventually(lambda: "remembers no lease" in first.log(), within=60)
    assert "the agent of pg-b does not answer" in first.log()
    second.start()
    await eventually(lambda: "the agent of pg-b knows epoch" in first.log(), within=60)
    second.kill()
    await lose_state(second)
    second.start()
    await eventually(lambda: "the directory of pg-b is on timeline 2, this one on 1" in first.log(), within=60)

    assert await pair.entry() is None
    assert not pair.processes("pg-a")

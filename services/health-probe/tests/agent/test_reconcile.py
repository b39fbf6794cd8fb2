"""What the agent decides to do, for every snapshot."""

from __future__ import annotations

import msgspec
from health_probe.agent.addresses import ServerAddress
from health_probe.agent.reconcile import Action, Local, Role, Seen, decide
from hypothesis import given
from hypothesis import strategies as st
from yaoki.epoch import Epoch
from yaoki.leases import ClusterLease, Member

A, B = ServerAddress("10.0.0.1", 5432), ServerAddress("10.0.0.2", 5432)
MEMBERS = {
    "pg-a": Member(agent="agent-pg-a", host=A.host, port=A.port),
    "pg-b": Member(agent="agent-pg-b", host=B.host, port=B.port),
}
RECORD = ClusterLease(cluster="orders", holder="pg-a", epoch=Epoch(1, 5), ttl_s=3, margin_s=1, members=MEMBERS)
DOWN = Local(
    processes=0,
    postmaster=False,
    role=Role.UNKNOWN,
    standby_signal=False,
    needs_rewind=True,
    needs_clone=False,
    permit=False,
    guarded=False,
)
STANDBY = msgspec.structs.replace(
    DOWN, processes=6, postmaster=True, role=Role.STANDBY, standby_signal=True, needs_rewind=False, upstream=B
)
PRIMARY = msgspec.structs.replace(DOWN, processes=6, postmaster=True, role=Role.PRIMARY, permit=True, guarded=True)

locals_ = st.builds(
    Local,
    processes=st.sampled_from((0, 5)),
    postmaster=st.booleans(),
    role=st.sampled_from(Role),
    standby_signal=st.booleans(),
    needs_rewind=st.booleans(),
    needs_clone=st.booleans(),
    permit=st.booleans(),
    guarded=st.booleans(),
    renounced=st.none() | st.builds(Epoch, st.just(1), st.integers(0, 9)),
    upstream=st.sampled_from((None, A, B)),
    stalled=st.booleans(),
    initial=st.booleans(),
    sole=st.booleans(),
)
records = st.builds(
    lambda holder, revoked: msgspec.structs.replace(RECORD, holder=holder, revoked_by=revoked),
    st.sampled_from(("pg-a", "pg-b", "")),
    st.sampled_from(("", "run-1")),
)
seens = st.none() | st.builds(Seen, record=st.none() | records, revision=st.integers(1, 9))


def holder_of(seen: Seen | None) -> ServerAddress | None:
    record = None if seen is None else seen.record
    return None if record is None else {"pg-a": A, "pg-b": B}.get(record.holder)


def act(local: Local, record: ClusterLease | None = RECORD, revision: int = 7) -> Action:
    seen = Seen(record=record, revision=revision)
    return decide(seen, local, "pg-a", holder_of(seen))


@given(seen=seens, local=locals_)
def test_invariants(seen: Seen | None, local: Local) -> None:
    """Those in the docstring of the module, over all snapshots."""
    action = decide(seen, local, "pg-a", holder_of(seen))
    record = None if seen is None else seen.record
    named = record is not None and record.holder == "pg-a" and not record.revoked_by
    writes = bool(local.processes) and local.postmaster and not local.standby_signal
    if action is Action.RUN_PRIMARY:
        assert local.permit
        assert named
        assert not local.standby_signal
        assert not local.processes
    if action is Action.ACQUIRE:
        assert named
    if action is Action.FOUND:
        assert record is None
        assert local.initial
        assert not local.standby_signal
    if action is Action.RUN_STANDBY and not named:
        assert not local.needs_rewind
        assert not local.needs_clone
    if action is Action.REJOIN:
        assert record is not None
        assert record.holder == "pg-b"
        assert not record.revoked_by
    if writes and not local.permit:
        assert action is Action.FENCE or (local.guarded and (action is Action.ACQUIRE or seen is None))
    if action is Action.RELEASE_GUARD and not local.permit:
        assert not local.processes


def test_orphans_come_first() -> None:
    """Whatever else is to be done, nobody of a dead server goes on."""
    assert act(msgspec.structs.replace(PRIMARY, postmaster=False)) is Action.CLEAN_UP


def test_a_started_agent_renews_before_it_starts_its_primary() -> None:
    """ACQUIRE, then RUN_PRIMARY with the permit that it gave."""
    assert act(DOWN) is Action.ACQUIRE
    assert act(msgspec.structs.replace(DOWN, permit=True)) is Action.RUN_PRIMARY


def test_a_crashed_primary_is_left_to_recovery_until_told_again() -> None:
    """The same epoch, also in a renewal that was stored late: nothing. A newer one, or nobody else: it goes on."""
    crashed = msgspec.structs.replace(DOWN, renounced=RECORD.epoch)
    again = msgspec.structs.replace(RECORD, epoch=Epoch(RECORD.epoch.incarnation, RECORD.epoch.counter + 1))
    assert act(crashed) is Action.NOTHING
    assert act(crashed, revision=8) is Action.NOTHING
    assert act(crashed, again, revision=8) is Action.ACQUIRE
    assert act(msgspec.structs.replace(crashed, sole=True)) is Action.ACQUIRE


def test_a_revoked_primary_is_killed_and_stays_down() -> None:
    """Also with a permit that has not run out by the clock."""
    revoked = msgspec.structs.replace(RECORD, revoked_by="run-1")
    assert act(PRIMARY, revoked) is Action.FENCE
    assert act(DOWN, revoked) is Action.NOTHING


def test_an_old_primary_is_rewound_before_it_follows() -> None:
    """Never started as it is."""
    other = msgspec.structs.replace(RECORD, holder="pg-b")
    assert act(DOWN, other) is Action.REJOIN
    assert act(msgspec.structs.replace(DOWN, needs_rewind=False), other) is Action.RUN_STANDBY
    assert act(msgspec.structs.replace(DOWN, needs_rewind=False, needs_clone=True), other) is Action.REJOIN


def test_a_standby_follows_the_holder() -> None:
    """Re-pointed when it follows somebody else, rejoined when it receives nothing."""
    other = msgspec.structs.replace(RECORD, holder="pg-b")
    assert act(STANDBY, other) is Action.NOTHING
    assert act(msgspec.structs.replace(STANDBY, upstream=A), other) is Action.FOLLOW
    assert act(msgspec.structs.replace(STANDBY, stalled=True), other) is Action.REJOIN


def test_a_standby_runs_on_while_nobody_holds_the_lease() -> None:
    """It is what will be promoted."""
    revoked = msgspec.structs.replace(RECORD, holder="pg-b", revoked_by="run-1")
    assert act(STANDBY, revoked) is Action.NOTHING
    assert act(msgspec.structs.replace(STANDBY, processes=0, postmaster=False), revoked) is Action.RUN_STANDBY


def test_a_standby_that_an_agent_before_this_one_began_to_promote_is_killed() -> None:
    """Guarded, running, without a permit: whatever the record says, its guard is not taken away from it."""
    begun = msgspec.structs.replace(STANDBY, guarded=True, needs_rewind=True)
    assert decide(None, begun, "pg-a", None) is Action.FENCE
    assert act(begun) is Action.FENCE
    assert act(begun, msgspec.structs.replace(RECORD, holder="pg-b")) is Action.FENCE
    assert act(msgspec.structs.replace(begun, permit=True)) is Action.NOTHING


def test_before_nats_was_reached_only_what_is_safe_by_itself_runs() -> None:
    """A standby is started, a primary is left to the watchdog that guards it, an unguarded one is killed."""
    assert decide(None, msgspec.structs.replace(STANDBY, processes=0, postmaster=False), "pg-a", None) is (
        Action.RUN_STANDBY
    )
    orphaned = msgspec.structs.replace(PRIMARY, permit=False)
    assert decide(None, orphaned, "pg-a", None) is Action.NOTHING
    assert decide(None, msgspec.structs.replace(orphaned, guarded=False), "pg-a", None) is Action.FENCE
    assert decide(None, DOWN, "pg-a", None) is Action.NOTHING

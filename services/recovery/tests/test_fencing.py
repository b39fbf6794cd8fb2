"""Taking the lease away, and what proves that its holder can no longer write."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recovery.fencing import Fence, agent_proves_fenced, waiting_time
from yaoki.epoch import Epoch
from yaoki.errors import ConflictError, RejectedError, StaleEpochError
from yaoki.leases import ClusterLease
from yaoki.testing import InMemoryKeyValue

from .builders import record, status
from .fakes import HandClock

EPOCH = Epoch(1, 10)


async def bucket_with(lease: ClusterLease) -> tuple[InMemoryKeyValue, int]:
    bucket = InMemoryKeyValue()
    return bucket, await bucket.create("orders", msgspec.json.encode(lease))


async def stored(bucket: InMemoryKeyValue) -> ClusterLease:
    entry = await bucket.get("orders")
    assert entry is not None
    return msgspec.json.decode(entry.value or b"", type=ClusterLease)


async def test_after_the_revocation_no_renewal_of_the_revision_before_succeeds() -> None:
    bucket, revision = await bucket_with(record())

    await Fence(bucket, HandClock()).revoke("orders", "run-1", EPOCH)

    with pytest.raises(ConflictError):
        await bucket.update("orders", msgspec.json.encode(record(renewals=1)), revision=revision)
    assert (await stored(bucket)).revoked_by == "run-1"
    assert (await stored(bucket)).revoked_epoch == EPOCH


async def test_a_renewal_in_between_is_revoked_as_well() -> None:
    bucket, revision = await bucket_with(record())
    raced = _RenewsOnce(bucket, revision)

    version = await Fence(raced, HandClock()).revoke("orders", "run-1", EPOCH)  # type: ignore[arg-type]  # a bucket that races

    assert version.record.renewals == 1
    assert (await stored(bucket)).revoked_by == "run-1"


class _RenewsOnce:
    """The holder renews between the coordinator's reading and its writing."""

    def __init__(self, bucket: InMemoryKeyValue, revision: int) -> None:
        self._bucket = bucket
        self._revision = revision
        self._raced = False
        self.get = bucket.get

    async def update(self, key: str, value: bytes, *, revision: int) -> int:
        if not self._raced:
            self._raced = True
            await self._bucket.update(key, msgspec.json.encode(record(renewals=1)), revision=self._revision)
        return await self._bucket.update(key, value, revision=revision)


async def test_revoking_twice_is_revoking_once() -> None:
    bucket, _ = await bucket_with(record())
    fence = Fence(bucket, HandClock())

    first = await fence.revoke("orders", "run-1", EPOCH)
    second = await fence.revoke("orders", "run-1", Epoch(1, 11))

    assert second == first


@pytest.mark.parametrize("newer", [{"epoch": Epoch(1, 11)}, {"revoked_epoch": Epoch(2, 0), "revoked_by": "run-2"}])
async def test_a_leader_that_was_replaced_revokes_nothing(newer: dict[str, object]) -> None:
    bucket, _ = await bucket_with(record(**newer))

    with pytest.raises(StaleEpochError, match="above this order's"):
        await Fence(bucket, HandClock()).revoke("orders", "run-1", EPOCH)
    assert await stored(bucket) == record(**newer)


async def test_a_cluster_without_a_record_says_what_to_do() -> None:
    with pytest.raises(RejectedError, match="start the agent of its primary"):
        await Fence(InMemoryKeyValue(), HandClock()).revoke("orders", "run-1", EPOCH)


async def test_every_instance_waits_from_its_own_receipt() -> None:
    bucket, _ = await bucket_with(record())
    clock = HandClock()
    first = Fence(bucket, clock)
    revoked = await first.revoke("orders", "run-1", EPOCH)
    whole = waiting_time(revoked.record)
    clock.forward(whole - 0.5)

    successor = await Fence(bucket, clock).read("orders")
    again = await first.read("orders")

    assert successor is not None
    assert again is not None
    assert Fence(bucket, clock).remaining(successor) == pytest.approx(whole)
    assert first.remaining(again) == pytest.approx(0.5)


@given(ttl=st.floats(0.1, 600), margin=st.floats(0.01, 60))
def test_the_wait_is_longer_than_the_holder_may_write(ttl: float, margin: float) -> None:
    lease = record(ttl_s=ttl, margin_s=margin)

    assert waiting_time(lease) > ttl + margin


@pytest.mark.parametrize(
    ("answer", "proves"),
    [
        (None, False),
        (status("pg-a", running=True), False),
        (status("pg-a", running=False, holder=True, epoch=Epoch(1, 1)), False),
        (status("pg-a", running=False, holder=True, epoch=EPOCH), True),
        (status("pg-a", running=False, holder=False), True),
        (status("pg-b", running=False), False),
    ],
)
def test_only_an_agent_that_cannot_start_its_server_again_proves_it(answer: object, *, proves: bool) -> None:
    revoked = record(revoked_by="run-1", revoked_epoch=EPOCH)

    assert agent_proves_fenced(revoked, answer) is proves  # type: ignore[arg-type]  # parametrised


async def test_the_old_holder_is_reinstated_with_a_new_epoch() -> None:
    bucket, _ = await bucket_with(record())
    fence = Fence(bucket, HandClock())
    await fence.revoke("orders", "run-1", EPOCH)

    version = await fence.reinstate("orders", "run-1", Epoch(1, 12))

    assert version is not None
    lease = await stored(bucket)
    assert (lease.holder, lease.revoked_by, lease.epoch) == ("pg-a", "", Epoch(1, 12))


async def test_a_candidate_that_made_itself_holder_keeps_the_lease() -> None:
    bucket, _ = await bucket_with(record())
    fence = Fence(bucket, HandClock())
    version = await fence.revoke("orders", "run-1", EPOCH)
    promoted = record(holder="pg-b", epoch=EPOCH)
    await bucket.update("orders", msgspec.json.encode(promoted), revision=version.revision)

    assert await fence.reinstate("orders", "run-1", EPOCH) is None
    assert await stored(bucket) == promoted

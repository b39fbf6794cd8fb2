"""Taking the lease away from a primary and proving that it can no longer write.

**No proof of fencing, no promotion.** The proof is one of two:

- the old holder's agent answers that no process of the data directory is left, and that it has obeyed this
  revocation (or does not believe itself holder), so that it will not start one as primary;
- `ttl + margin + drift` have passed on this machine's CLOCK_BOOTTIME since *this instance* received the revoked
  revision. The last renewal that can have succeeded is older than the revocation, so the holder's own deadline
  (send time of that renewal + ttl - margin) is over by then. An instance that takes the run over waits again from
  its own receipt: it cannot know what clock another instance measured on.

The second is enough for a promotion only, because a failsafe grant that lets the old holder go on without NATS makes
the candidate refuse. Before clients are led to a static fallback database, which grants nothing, the first is required.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import ConflictError, RejectedError, StaleEpochError
from yaoki.leases import ClusterLease

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.commands.agent import AgentStatus
    from yaoki.epoch import Epoch
    from yaoki.messaging.ports import KeyValue

_DRIFT_SHARE = 0.05
_DRIFT_FLOOR_S = 0.1
_CAS_ATTEMPTS = 50


class LeaseVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a lease record, with when this instance first saw it (monotonic seconds)."""

    record: ClusterLease
    revision: int
    received: float


def waiting_time(record: ClusterLease) -> float:
    """Seconds after which the holder of a revoked lease has stopped, whatever happened to it."""
    span = record.ttl_s + record.margin_s
    return span + max(_DRIFT_FLOOR_S, span * _DRIFT_SHARE)


def agent_proves_fenced(record: ClusterLease, status: AgentStatus | None) -> bool:
    """Whether the agent's answer alone proves that the old holder cannot write any more.

    "Not running" is not enough: an agent that has not heard of the revocation may be about to start its server.
    """
    if status is None or status.member != record.holder or status.running:
        return False
    return not status.holder or status.epoch >= record.revoked_epoch


class Fence:
    """Reads and revokes lease records, and remembers when each revision was first received.

    Args:
        clusters: The KV bucket `clusters`.
        clock: Its `monotonic` measures the wait.
    """

    def __init__(self, clusters: KeyValue, clock: Clock) -> None:
        self._clusters = clusters
        self._clock = clock
        self._received: dict[str, tuple[int, float]] = {}

    async def read(self, cluster: str) -> LeaseVersion | None:
        """The present record; None when the cluster never had one."""
        entry = await self._clusters.get(cluster)
        if entry is None or entry.value is None:
            return None
        record = msgspec.json.decode(entry.value, type=ClusterLease)
        return LeaseVersion(record=record, revision=entry.revision, received=self._first_seen(cluster, entry.revision))

    async def revoke(self, cluster: str, run_id: str, epoch: Epoch) -> LeaseVersion:
        """Take the lease away; after this no renewal can succeed. A repeat finds it done.

        Raises:
            RejectedError: There is no record to revoke.
            StaleEpochError: A newer leader has changed the record.
            TransientError: NATS did not answer, or the record kept changing.
        """
        for _ in range(_CAS_ATTEMPTS):
            found = await self._expect(cluster)
            if found.record.revoked_by == run_id:
                return found
            _refuse_if_newer(found.record, epoch)
            revoked = msgspec.structs.replace(found.record, revoked_by=run_id, revoked_epoch=epoch)
            try:
                revision = await self._write(cluster, revoked, found.revision)
            except ConflictError:
                continue  # the holder renewed in between: read the newer revision and revoke that
            return LeaseVersion(record=revoked, revision=revision, received=self._first_seen(cluster, revision))
        raise ConflictError(f"the lease of {cluster!r} changed {_CAS_ATTEMPTS} times while it was revoked")

    async def reinstate(self, cluster: str, run_id: str, epoch: Epoch) -> LeaseVersion | None:
        """Give the lease back to the old holder, if it is still this run that has it revoked; else None.

        A candidate that has made itself holder in the meantime keeps it.

        Raises:
            ConflictError: Somebody changed the record at the same time.
        """
        found = await self._expect(cluster)
        if found.record.revoked_by != run_id or not found.record.holder:
            return None
        _refuse_if_newer(found.record, epoch)
        restored = msgspec.structs.replace(
            found.record,
            epoch=epoch,
            revoked_by="",
            revoked_epoch=found.record.revoked_epoch,
            renewals=found.record.renewals + 1,
        )
        revision = await self._write(cluster, restored, found.revision)
        return LeaseVersion(record=restored, revision=revision, received=self._first_seen(cluster, revision))

    def remaining(self, version: LeaseVersion) -> float:
        """Seconds that are left until the passing of time proves the fencing; 0 or less when it does."""
        return version.received + waiting_time(version.record) - self._clock.monotonic()

    async def _expect(self, cluster: str) -> LeaseVersion:
        found = await self.read(cluster)
        if found is None:
            raise RejectedError(
                f"cluster {cluster!r} has no lease record in the bucket 'clusters'; start the agent of its primary, "
                "which creates it"
            )
        return found

    async def _write(self, cluster: str, record: ClusterLease, revision: int) -> int:
        return await self._clusters.update(cluster, msgspec.json.encode(record), revision=revision)

    def _first_seen(self, cluster: str, revision: int) -> float:
        known = self._received.get(cluster)
        if known is None or known[0] != revision:
            known = (revision, self._clock.monotonic())
            self._received[cluster] = known
        return known[1]


def _refuse_if_newer(record: ClusterLease, epoch: Epoch) -> None:
    highest = max(record.epoch, record.revoked_epoch)
    if highest > epoch:
        raise StaleEpochError(
            f"the lease of {record.cluster!r} was changed with epoch {highest}, above this order's {epoch}"
        )

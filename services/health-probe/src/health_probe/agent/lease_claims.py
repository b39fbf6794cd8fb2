"""What this member may make of the lease record: found the cluster, or renew what the record gives to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yaoki.errors import TransientError
from yaoki.telemetry import get_logger

from health_probe.agent.durable import boottime
from health_probe.agent.lease import founding
from health_probe.agent.peers import objection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from yaoki.config.clusters import LeaseSettings
    from yaoki.leases import ClusterLease, Member

    from health_probe.agent.grants import GrantBook
    from health_probe.agent.leadership import Leadership
    from health_probe.agent.lease_store import LeaseStore
    from health_probe.agent.lineage import Lineage
    from health_probe.agent.peers import Peers
    from health_probe.agent.reconcile import Seen

_READ_S = 1.0
log = get_logger(__name__)


class LeaseClaims:
    """The record as last read, and the two ways in which a server of this host becomes writable without an order.

    Invariant: neither is taken while a failsafe grant of this member runs, nor, by a host that remembers no lease,
    against what any other member that may be promoted knows.

    Args:
        book: The grants that this member has given.
        peers: The others.
        timeline: Of this member's data directory.

    Attributes:
        seen: None until the record could be read once.
    """

    def __init__(
        self,
        *,
        cluster: str,
        member: str,
        members: Mapping[str, Member],
        lease: LeaseSettings,
        store: LeaseStore,
        leadership: Leadership,
        lineage: Lineage,
        book: GrantBook,
        peers: Peers,
        timeline: Callable[[], int],
    ) -> None:
        self.store = store
        self.leadership = leadership
        self.seen: Seen | None = None
        self._cluster = cluster
        self._member = member
        self._members = members
        self._lease = lease
        self._lineage = lineage
        self._book = book
        self._peers = peers
        self._timeline = timeline
        self._absent_since: float | None = None

    async def read(self) -> None:
        """Read the record; when NATS does not answer, what was seen before stands."""
        try:
            async with asyncio.timeout(_READ_S):
                self.seen = await self.store.read()
        except TimeoutError:
            return
        except TransientError as error:
            log.warning("the lease record cannot be read", error=error.message)
            return
        if self.seen.record is not None:
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = boottime()

    async def found(self) -> bool:
        """Create the record with this member as holder; False while it is too early.

        The holder of a record that is gone may write for its ttl, so that has to pass first.

        Raises:
            TransientError: A record was known before, here or by another member: NATS has lost its data, and a person
                has to say who was the primary last.
            ConflictError: Somebody else founded the cluster.
        """
        known = self.store.remembered
        if known is not None:
            raise TransientError(
                f"the lease record clusters/{self._cluster} is gone, but one of epoch {known.epoch} was known (holder "
                f"{known.holder!r}): NATS has lost its data. When it is certain who was the primary last, put back the "
                f'record that its host remembers: nats kv put clusters {self._cluster} "$(cat {self.store.state_file})"'
            )
        if self._absent_since is None or boottime() - self._absent_since < self._lease.ttl:
            return False
        record = founding(
            self._cluster,
            self._member,
            ttl_s=self._lease.ttl,
            margin_s=self._lease.margin,
            members=self._members,
        )
        await self._ask_others(record)
        return await self._take(record, over=0)

    async def acquire(self) -> bool:
        """Renew the lease that the record gives to this member; only then may its server write. Whether it was.

        Raises:
            ConflictError: It was changed meanwhile.
            TransientError: NATS or the watchdog did not answer, or the record may be from the past.
        """
        if self.seen is None or self.seen.record is None:
            return False
        if not self.store.remembers:
            await self._ask_others(self.seen.record)
        return await self._take(self.leadership.renewed(self.seen.record), over=self.seen.revision)

    async def _ask_others(self, record: ClusterLease) -> None:
        answers = await self._peers.ask()
        if reason := objection(answers, epoch=record.epoch, timeline=self._timeline()):
            raise TransientError(f"{self._member} remembers no lease of {self._cluster} and does not take it: {reason}")

    async def _take(self, record: ClusterLease, *, over: int) -> bool:
        """Take the lease unless somebody else may be writing by a grant of this member; none is given meanwhile."""
        async with self._book.lock:
            if (left := self._book.remaining()) > 0:
                log.warning("the lease is not taken while a failsafe grant runs", seconds=round(left, 1))
                return False
            self._lineage.before_writing()
            await self.leadership.take(record, over=over)
        return True

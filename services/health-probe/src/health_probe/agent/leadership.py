"""Holding the lease: taking it, renewing it, and noticing that it is lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

import msgspec
from yaoki.errors import ConflictError, TransientError, YaokiError
from yaoki.telemetry import get_logger

from health_probe.agent import metrics
from health_probe.agent.durable import boottime
from health_probe.agent.lease import (
    Permit,
    Settled,
    deadline_after,
    patience,
    renewal,
    renewal_interval,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from yaoki.epoch import Epoch
    from yaoki.leases import ClusterLease, Member

    from health_probe.agent.durability import Quorum
    from health_probe.agent.lease_store import LeaseStore

log = get_logger(__name__)
_LOOK_S = 0.1  # asyncio's timers do not count the time in suspend; the deadline does


class Guardian(Protocol):
    """The watchdog, as far as the lease is concerned."""

    async def arm(self, deadline: float, epoch: Epoch) -> object:
        """See `WatchdogClient.arm`."""
        ...


class Failsafe(Protocol):
    """Who lets the holder go on when NATS does not answer."""

    async def extend(self, record: ClusterLease, within_s: float) -> bool:
        """Whether everybody who must has granted `record.ttl_s` more, asked for after this call began."""
        ...


class _Lost(msgspec.Struct, frozen=True):
    reason: str


class Leadership:
    """The permit of one member to write, and the task that keeps it alive.

    Invariant: `permit` is live only while the watchdog is armed with its deadline or a later one of the same lease, and
    its deadline is never later than the rules in `health_probe.agent.lease` allow.

    Args:
        member: This member.
        store: The record.
        watchdog: Armed before a permit is shown to anybody.
        failsafe: Asked when a renewal is not answered.
        members: All members by the configuration; written into the record.
        position: Timeline and position that a renewal reports; must not block.
        on_lost: Called once when the permit is lost or has lapsed, with the reason of `ServerStopped`; `permit` is
            None by then. The server must be dead when it returns.
        on_failsafe: Called when NATS is back, with the seconds that the failsafe bridged.
    """

    def __init__(
        self,
        *,
        member: str,
        store: LeaseStore,
        watchdog: Guardian,
        failsafe: Failsafe,
        members: Mapping[str, Member],
        position: Callable[[], tuple[int, int]],
        on_lost: Callable[[str], Awaitable[None]],
        on_failsafe: Callable[[float], None],
    ) -> None:
        self._member = member
        self._store = store
        self._watchdog = watchdog
        self._failsafe = failsafe
        self._members = members
        self._position = position
        self._on_lost = on_lost
        self._on_failsafe = on_failsafe
        self._permit: Permit | None = None
        self._taking = False
        self._turn = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._unanswered_since: float | None = None

    @property
    def permit(self) -> Permit | None:
        """The permit while it is held, live or just lapsed."""
        return self._permit

    @property
    def taking(self) -> bool:
        """A claim is on its way: it may be stored already, unknown to us, and would let the server be started.

        As long as it is, this agent's word that nothing runs proves nothing.
        """
        return self._taking

    def may_write(self) -> bool:
        """Whether the server may write at this instant."""
        return self._permit is not None and self._permit.live(boottime())

    def renewed(self, record: ClusterLease) -> ClusterLease:
        """`record` as this holder renews it now."""
        timeline, position = self._position()
        return renewal(record, position=position, timeline=timeline, members=self._members)

    async def take(self, record: ClusterLease, *, over: int) -> Permit:
        """Write `record`, which names this member, over revision `over` (0: create it), and hold it from now on.

        Raises:
            ConflictError: Somebody else changed the record. Nothing is held.
            TransientError: Not answered, or the watchdog could not be armed. Nothing is held.
        """
        async with self._turn:
            self._taking = True
            try:
                sent = boottime()
                revision = await (self._store.write(record, over) if over else self._store.create(record))
                permit = Permit(record=record, revision=revision, deadline=deadline_after(sent, record))
                await self._watchdog.arm(permit.deadline, record.epoch)
                self._forget()
                self._permit = permit
            finally:
                self._taking = False
        self._unanswered_since = None
        self._tasks = [
            asyncio.create_task(self._keep(), name="lease-keeper"),
            asyncio.create_task(self._watch_deadline(), name="lease-deadline"),
        ]
        metrics.HOLDER.set(1)
        return permit

    def renounce(self) -> Epoch | None:
        """Give the permit up, at once; return its epoch, if there was one. The record is left as it is.

        A renewal that is on its way may still be stored: it changes the record's revision, but not its epoch.
        """
        epoch = self._permit.record.epoch if self._permit else None
        self._forget()
        return epoch

    def _forget(self) -> None:
        self._permit = None
        metrics.HOLDER.set(0)
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._tasks = []

    async def promise(self, quorum: Quorum) -> None:
        """Write into the record what is promised about synchronous standbys.

        Raises:
            TransientError: It could not be written; what was promised before stands.
        """
        async with self._turn:
            permit = self._held()
            promising = msgspec.structs.replace(
                permit.record, synchronous=quorum.names, synchronous_required=quorum.required
            )
            outcome = await self._write(msgspec.structs.replace(permit, record=promising))
        if isinstance(outcome, _Lost):
            await self._lose(permit, outcome.reason)
            raise ConflictError("the lease was lost")
        await self._extend(outcome)

    def _held(self) -> Permit:
        if self._permit is None:
            raise ConflictError("the lease is not held")
        return self._permit

    # -- keeping it

    async def _keep(self) -> None:
        due = boottime()
        while (permit := self._permit) is not None:
            due = max(due + renewal_interval(permit.record), boottime())
            await asyncio.sleep(due - boottime())
            try:
                await self._renew_once()
            except YaokiError as error:  # a watchdog that refuses, above all: the old deadline stands
                log.warning("the lease could not be extended", error=error.message)

    async def _renew_once(self) -> None:
        permit = self._permit
        if permit is None:
            return
        asked = asyncio.create_task(self._renew(permit))
        try:
            wait_s = patience(permit.record)
            await asyncio.wait({asked}, timeout=wait_s if self._unanswered_since is None else wait_s / 10)
            if not asked.done():
                await self._go_on_without_nats(permit, wait_s)
                await asyncio.wait({asked}, timeout=wait_s / 10)
            if not asked.done():
                return
            outcome = asked.result()
        except ConflictError as error:
            log.warning("the lease record keeps changing", error=error.message)
            return
        except TransientError:
            await self._go_on_without_nats(permit, patience(permit.record))
            return
        finally:
            asked.cancel()
            with contextlib.suppress(asyncio.CancelledError, YaokiError):
                await asked
        if isinstance(outcome, _Lost):
            await self._lose(permit, outcome.reason)
        else:
            await self._extend(outcome)
            self._nats_is_back()

    async def _renew(self, permit: Permit) -> Permit | _Lost:
        async with self._turn:
            current = self._permit  # a promise may have been written since
            return await self._write(current) if current is not None else await self._write(permit)

    async def _write(self, permit: Permit) -> Permit | _Lost:
        """One renewal; a refused one is settled by reading and, if the lease is still ours, repeated once."""
        record = self.renewed(permit.record)
        sent = boottime()
        try:
            revision = await self._store.write(record, permit.revision)
        except ConflictError:
            return await self._settle(record)
        metrics.RENEWALS.labels("renewed").inc()
        return Permit(record=record, revision=revision, deadline=deadline_after(sent, record))

    async def _settle(self, record: ClusterLease) -> Permit | _Lost:
        found = await self._store.read()
        if found.record is not None and settle(found.record, self._member, record.epoch) is Settled.LOST:
            metrics.RENEWALS.labels("lost").inc()
            return _Lost("revoked")
        sent = boottime()
        if found.record is None:
            if not self.may_write():
                return _Lost("lease-lapsed")
            # The record is gone (a NATS that lost its data): while we hold a live permit nobody can have been promoted,
            # and nobody can be without a record. Whoever founds the cluster anew waits for our lease first.
            revision = await self._store.create(record)
        else:
            again = max(found.record.renewals, record.renewals) + 1
            record = msgspec.structs.replace(record, renewals=again, revoked_epoch=found.record.revoked_epoch)
            revision = await self._store.write(record, found.revision)
        metrics.RENEWALS.labels("settled").inc()
        return Permit(record=record, revision=revision, deadline=deadline_after(sent, record))

    async def _extend(self, permit: Permit) -> None:
        """Hold `permit` instead of the one before, once the watchdog knows. One that has lapsed stays so."""
        if self._permit is None or permit.record.epoch != self._permit.record.epoch or not self.may_write():
            return
        later = max(permit.deadline, self._permit.deadline)
        await self._watchdog.arm(later, permit.record.epoch)
        if self._permit is not None:
            newest = permit if permit.revision >= self._permit.revision else self._permit
            self._permit = msgspec.structs.replace(newest, deadline=later)

    async def _go_on_without_nats(self, permit: Permit, within_s: float) -> None:
        if self._unanswered_since is None:
            self._unanswered_since = boottime()
        metrics.RENEWALS.labels("unanswered").inc()
        sent = boottime()
        if await self._failsafe.extend(permit.record, within_s):
            metrics.FAILSAFE_EXTENSIONS.labels("granted").inc()
            await self._extend(msgspec.structs.replace(permit, deadline=deadline_after(sent, permit.record)))
        else:
            metrics.FAILSAFE_EXTENSIONS.labels("refused").inc()

    def _nats_is_back(self) -> None:
        if self._unanswered_since is not None:
            self._on_failsafe(boottime() - self._unanswered_since)
            self._unanswered_since = None

    # -- losing it

    async def _watch_deadline(self) -> None:
        while (permit := self._permit) is not None:
            left = permit.deadline - boottime()
            if left <= 0:
                await self._lose(permit, "lease-lapsed")
                return
            await asyncio.sleep(min(left, _LOOK_S))

    async def _lose(self, permit: Permit, reason: str) -> None:
        if self._permit is None or self._permit.record.epoch != permit.record.epoch:
            return
        log.error("the lease is lost", reason=reason, epoch=str(permit.record.epoch))
        self._forget()
        await self._on_lost(reason)

"""Holders, coordinators and promoting agents over one compare-and-set record, in virtual time; two writers end it.

The decisions are the production code's own; the world around them is this file's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from health_probe.agent import failsafe, lease
from yaoki.epoch import Epoch
from yaoki.leases import ClusterLease, Member

if TYPE_CHECKING:
    from collections.abc import Callable

TTL, MARGIN = 3.0, 1.0
STOPPING = MARGIN * 0.99  # the watchdog takes nearly the whole margin to kill
NAMES = ("pg-a", "pg-b", "pg-c")
MEMBERS = {name: Member(agent=f"agent-{name}", host="h", port=1) for name in NAMES}


@dataclass
class Store:
    """The record in KV."""

    record: ClusterLease
    revision: int = 1

    def write(self, record: ClusterLease, revision: int) -> bool:
        if revision != self.revision:
            return False
        self.record, self.revision = record, revision + 1
        return True


@dataclass
class Flight:
    """A renewal on its way."""

    sent: float
    record: ClusterLease
    revision: int


@dataclass
class Host:
    """An agent with its disk, its watchdog and its server."""

    name: str
    writable: bool = False
    permit: lease.Permit | None = None
    armed: float | None = None
    grant: failsafe.Grant = field(default_factory=failsafe.Grant)
    paused: bool = False
    alive: bool = True
    flights: list[Flight] = field(default_factory=list)
    asked: tuple[float, set[str]] | None = None
    promoting: tuple[Epoch, ClusterLease, int] | None = None

    def active(self) -> bool:
        return self.alive and not self.paused

    def stop(self) -> None:
        self.writable, self.permit, self.armed = False, None, None


@dataclass
class Order:
    """A promotion that a coordinator has given; it may arrive whenever it likes."""

    member: str
    epoch: Epoch


@dataclass
class Coordinator:
    """One leader of a run."""

    epoch: Epoch
    received: float | None = None
    revision: int = 0
    holder: str = ""
    sent: bool = False


class World:
    """All of it, with the clock."""

    def __init__(self, seed: int, often: dict[str, float] | None = None) -> None:
        self._often = often or {}
        self.random = random.Random(seed)  # noqa: S311 - repeatable, no secret
        self.now = 100.0
        first = lease.founding("orders", "pg-a", ttl_s=TTL, margin_s=MARGIN, members=MEMBERS)
        self.store = Store(first)
        self.hosts = {name: Host(name) for name in NAMES}
        self.coordinators: list[Coordinator] = []
        self.orders: list[Order] = []
        self.counter = 0
        self.promotions = 0
        self.nats = True
        # Half of the worlds have no failsafe, whose grants would cover for mistakes elsewhere.
        self.failsafe = seed % 2 == 0
        self._hold(self.hosts["pg-a"], first, 1, self.now)
        self.hosts["pg-a"].writable = True

    def run(self, steps: int) -> None:
        actions: list[tuple[Callable[[], None], float]] = [
            (self.pass_time, 10),
            (self.send_renewal, 8),
            (self.answer_renewal, 10),
            (self.lose_renewal, 0.5),
            (self.lose_or_restore_nats, 0.6),
            (self.ask_grants, 12),
            (self.use_grants, 12),
            (self.pause_or_wake, 0.6),
            (self.kill_or_restart, 0.8),
            (self.reacquire, 3),
            (self.crash, 0.3),
            (self.reboot, 0.5),
            (self.reinstate, 0.2),
            (self.new_coordinator, 0.8),
            (self.revoke, 1.2),
            (self.order_promotion, 8),
            (self.begin_promotion, 8),
            (self.finish_promotion, 8),
        ]
        weights = [self._often.get(action.__name__, weight) for action, weight in actions]
        for _ in range(steps):
            self.random.choices([a for a, _ in actions], weights)[0]()
            writers = [host.name for host in self.hosts.values() if host.writable]
            assert len(writers) <= 1, f"{writers} write at {self.now:.2f}"

    def _pick(self, wanted: Callable[[Host], object] = lambda _: True) -> Host | None:
        """One of those that the event can happen to."""
        fitting = [host for host in self.hosts.values() if wanted(host)]
        return self.random.choice(fitting) if fitting else None

    def pass_time(self) -> None:
        """Time passes; watchdogs strike on their way, as late as they may."""
        self.now += self.random.choice((0.05, 0.1, 0.2, 0.3, 0.5, 0.9))
        for host in self.hosts.values():
            if host.armed is not None and self.now >= host.armed + STOPPING:
                host.stop()
            if host.active() and host.permit is not None and not host.permit.live(self.now):
                host.stop()

    # -- the holder

    def _hold(self, host: Host, record: ClusterLease, revision: int, sent: float) -> None:
        deadline = lease.deadline_after(sent, record)
        if deadline > self.now:
            host.permit = lease.Permit(record=record, revision=revision, deadline=deadline)
            host.armed = deadline

    def send_renewal(self) -> None:
        host = self._pick(lambda one: one.active() and one.permit)
        if host is not None and host.permit is not None:
            record = lease.renewal(host.permit.record, position=1, timeline=1, members=MEMBERS)
            host.flights.append(Flight(self.now, record, host.permit.revision))

    def answer_renewal(self) -> None:
        host = self._pick(lambda one: one.flights)
        if host is None or not self.nats:
            return
        flight = host.flights.pop(self.random.randrange(len(host.flights)))
        written = self.store.write(flight.record, flight.revision)
        answered = self.random.random() < 0.8
        permit = host.permit
        if not answered or not host.active() or permit is None or permit.record.epoch != flight.record.epoch:
            return
        if written:
            if permit.live(self.now):
                self._hold(host, flight.record, self.store.revision, min(flight.sent, self.now))
        elif lease.settle(self.store.record, host.name, permit.record.epoch) is lease.Settled.LOST:
            host.stop()
        else:
            host.permit = msgspec.structs.replace(permit, record=self.store.record, revision=self.store.revision)

    def lose_renewal(self) -> None:
        host = self._pick(lambda one: one.flights)
        if host is not None:
            host.flights.pop()

    def lose_or_restore_nats(self) -> None:
        """Away, nothing is answered to holders; coordinators may see it all the same (a partition)."""
        self.nats = not self.nats

    def reacquire(self) -> None:
        """What a restarted agent does: renew the lease that names it, then let its server write."""
        record = self.store.record
        host = self._pick(lambda one: one.active() and one.permit is None)
        if host is None or not self.nats or lease.standing(record, host.name) is not lease.Standing.HOLDER:
            return
        renewed = lease.renewal(record, position=1, timeline=1, members=MEMBERS)
        if self.store.write(renewed, self.store.revision):
            self._hold(host, renewed, self.store.revision, self.now)
            host.writable = host.permit is not None

    def crash(self) -> None:
        host = self._pick(Host.active)
        if host is not None:
            host.stop()

    # -- the failsafe

    def ask_grants(self) -> None:
        """Ask now; some get it, at once or later, some never."""
        host = self._pick(lambda one: one.active() and one.permit)
        if host is None or host.permit is None or not self.failsafe:
            return
        host.asked = (self.now, set())
        for other in self.hosts.values():
            if other is not host and other.active() and self.random.random() < 0.97:
                request = failsafe.GrantRequest(
                    cluster="orders", holder=host.name, member=other.name, epoch=host.permit.record.epoch, seconds=TTL
                )
                known = self.store.record if self.nats and self.random.random() < 0.5 else None
                refused = failsafe.refusal(
                    request,
                    cluster="orders",
                    member=other.name,
                    grant=other.grant,
                    known=known,
                    writable=other.permit is not None,
                )
                if not refused:
                    other.grant = failsafe.granted(
                        other.grant, request, boot_id=other.grant.boot_id or "boot", now=self.now
                    )
                    host.asked[1].add(other.name)

    def use_grants(self) -> None:
        """The answers arrive, perhaps much later."""
        host = self._pick(lambda one: one.asked)
        if host is None or host.asked is None or not host.active():
            return
        if host.permit is None or not host.permit.live(self.now):
            host.asked = None
            return
        sent, granting = host.asked
        host.asked = None
        needed = failsafe.must_grant(host.name, host.permit.record.members, MEMBERS)
        deadline = lease.deadline_after(sent, host.permit.record)
        if failsafe.may_extend(needed, granting) and deadline > host.permit.deadline:
            host.permit = msgspec.structs.replace(host.permit, deadline=deadline)
            host.armed = deadline

    # -- trouble

    def pause_or_wake(self) -> None:
        host = self._pick(lambda one: one.paused) if self.random.random() < 0.6 else self._pick()
        if host is not None:
            host.paused = not host.paused

    def kill_or_restart(self) -> None:
        """The agent only: its watchdog, its disk and its server stay."""
        host = self._pick(lambda one: not one.alive) if self.random.random() < 0.6 else self._pick()
        if host is None:
            return
        if host.alive:
            host.alive, host.permit, host.asked, host.promoting = False, None, None, None
            return
        host.grant = failsafe.after_restart(host.grant, host.grant.boot_id, self.now)
        host.alive, host.paused = True, False

    def reboot(self) -> None:
        """The whole host, quickly; its clock starts anew, which `another boot` stands for."""
        host = self._pick()
        if host is not None:
            host.stop()
            host.asked, host.promoting = None, None
            host.grant = failsafe.after_restart(host.grant, f"boot {self.now}", self.now)
            host.alive, host.paused = True, False

    # -- the coordinators

    def new_coordinator(self) -> None:
        self.counter += 1
        self.coordinators.append(Coordinator(Epoch(1, self.counter)))

    def revoke(self) -> None:
        record = self.store.record
        newest = max(record.epoch, record.revoked_epoch)
        able = [leader for leader in self.coordinators if leader.received is None and leader.epoch >= newest]
        if not able:
            return
        leader = self.random.choice(able)
        revoked = msgspec.structs.replace(record, revoked_by=f"run-{leader.epoch}", revoked_epoch=leader.epoch)
        if self.store.write(revoked, self.store.revision):
            leader.received, leader.revision, leader.holder = self.now, self.store.revision, record.holder

    def reinstate(self) -> None:
        """Taken back, perhaps although an order has been given that will arrive late."""
        for leader in self.coordinators:
            record = self.store.record
            if leader.received is not None and record.revoked_by == f"run-{leader.epoch}":
                back = msgspec.structs.replace(record, revoked_by="", epoch=leader.epoch)
                self.store.write(back, self.store.revision)
                leader.sent = True

    def order_promotion(self) -> None:
        """With proof of fencing only: the lease is over, or the agent says that nothing runs."""
        for leader in self.coordinators:
            if leader.received is None or leader.sent:
                continue
            old = self.hosts[leader.holder]
            lapsed = self.now >= leader.received + TTL + MARGIN
            if lapsed or (old.active() and not old.writable and old.permit is None):
                others = [name for name in NAMES if name != leader.holder]
                self.orders.append(Order(self.random.choice(others), leader.epoch))
                leader.sent = self.random.random() < 0.1

    def begin_promotion(self) -> None:
        """An order arrives: read, check, promise."""
        if not self.orders:
            return
        order = self.random.choice(self.orders)
        host = self.hosts[order.member]
        if not host.active() or host.writable or host.permit is not None:
            return
        record = self.store.record
        granted = host.grant.remaining(self.now)
        if lease.promotion_obstacle(record, host.name, order.epoch, granted_s=granted) is None:
            host.grant = msgspec.structs.replace(host.grant, promised=max(host.grant.promised, order.epoch))
            host.promoting = (order.epoch, record, self.store.revision)

    def finish_promotion(self) -> None:
        """Become holder by compare-and-set, then promote."""
        host = self._pick(lambda one: one.active() and one.promoting)
        if host is None or host.promoting is None:
            return
        epoch, record, revision = host.promoting
        host.promoting = None
        taken = lease.promoted(record, host.name, epoch, members=MEMBERS)
        if self.store.write(taken, revision):
            self._hold(host, taken, self.store.revision, self.now)
            host.writable = host.permit is not None
            self.promotions += 1

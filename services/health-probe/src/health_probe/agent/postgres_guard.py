"""Guards one PostgreSQL: carries out what `reconcile` decides, and stops the server when its lease is lost.

`turn` is held by whoever changes the server or the lease: the reconcile loop for one action, or an order. Stopping
never waits for it. Within the event loop nothing is awaited between looking at the permit and creating the server's
process, so that a fence that has begun finds either no process or one that it kills.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yaoki.epoch import NO_EPOCH
from yaoki.errors import RejectedError, TransientError, YaokiError
from yaoki.events.recovery import MemberRejoined
from yaoki.telemetry import get_logger

from health_probe.agent import metrics
from health_probe.agent.addresses import ServerAddress
from health_probe.agent.durable import boottime
from health_probe.agent.guard_post import GuardPost
from health_probe.agent.reconcile import Action, Local, Role, Seen, decide
from health_probe.agent.rejoin import Rejoiner
from health_probe.agent.server_life import ServerLife

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from yaoki.config.clusters import LeaseSettings
    from yaoki.epoch import Epoch
    from yaoki.leases import Member

    from health_probe.agent.announcer import Announcer
    from health_probe.agent.grants import GrantBook
    from health_probe.agent.leadership import Leadership
    from health_probe.agent.lease_claims import LeaseClaims
    from health_probe.agent.lineage import Lineage
    from health_probe.agent.observer import Observer
    from health_probe.agent.postgres_node import PostgresNode
    from health_probe.agent.postgres_sql import PostgresSql, ServerView
    from health_probe.agent.synchronous import SynchronousStandbys
    from health_probe.agent.watchdog import WatchdogClient

_STALL_S = 10.0
_CONTINUES = frozenset({Action.ACQUIRE, Action.FENCE, Action.CLEAN_UP, Action.RELEASE_GUARD})
log = get_logger(__name__)


class PostgresGuard:
    """State and actions of one agent; see the module.

    Args:
        agent: Worker name.
        initial: This member founds the cluster when there is no record.
    """

    def __init__(
        self,
        *,
        agent: str,
        cluster: str,
        member: str,
        members: Mapping[str, Member],
        lease: LeaseSettings,
        initial: bool,
        node: PostgresNode,
        lineage: Lineage,
        sql: PostgresSql,
        observer: Observer,
        watchdog: WatchdogClient,
        book: GrantBook,
        announcer: Announcer,
    ) -> None:
        self.agent = agent
        self.cluster = cluster
        self.member = member
        self.members = members
        self.lease = lease
        self.node = node
        self.lineage = lineage
        self.sql = sql
        self.observer = observer
        self.book = book
        self.turn = asyncio.Lock()
        self.wake = asyncio.Event()
        self.promoting = False
        self._initial = initial
        self.post = GuardPost(watchdog, margin_s=lease.margin)
        self.life = ServerLife(
            agent=agent,
            cluster=cluster,
            member=member,
            node=node,
            post=self.post,
            announcer=announcer,
            epoch=self.epoch,
            wake=self.wake,
        )
        self._announcer = announcer
        self._claims: LeaseClaims | None = None
        self._synchronous: SynchronousStandbys | None = None
        self._stopped = False
        self._stalled_since: float | None = None
        self._rejoiner = Rejoiner(node, lineage)

    def connect(self, claims: LeaseClaims, synchronous: SynchronousStandbys) -> None:
        """Give the guard what needs NATS, once it is there."""
        self._claims = claims
        self.life.leadership = claims.leadership
        self._synchronous = synchronous

    # -- what is known

    @property
    def claims(self) -> LeaseClaims:
        """The lease record and what may be made of it. Raises TransientError before NATS was reached."""
        if self._claims is None:
            raise TransientError("NATS has not been reached since this agent started")
        return self._claims

    @property
    def leadership(self) -> Leadership:
        """The lease. Raises as `claims`."""
        return self.claims.leadership

    @property
    def synchronous(self) -> SynchronousStandbys:
        """The synchronous standbys. Raises as `claims`."""
        if self._synchronous is None:
            raise TransientError("NATS has not been reached since this agent started")
        return self._synchronous

    @property
    def seen(self) -> Seen | None:
        """The lease record as last read; None before NATS was reached."""
        return None if self._claims is None else self._claims.seen

    def holds(self) -> bool:
        """Whether the server may write now, or may be started writable at any moment.

        A claim that is on its way counts: it may be stored without our knowing.
        """
        leadership = self.life.leadership
        return leadership is not None and (leadership.permit is not None or leadership.taking)

    def epoch(self) -> Epoch:
        """The highest epoch that this agent has obeyed."""
        known = self._claims.store.remembered if self._claims is not None else None
        return max(self.book.grant.promised, NO_EPOCH if known is None else known.epoch)

    def rejoining(self) -> bool:
        """A rewind or a clone is under way."""
        return self._rejoiner.busy()

    def address_of(self, member: str) -> ServerAddress | None:
        """Where a member listens."""
        known = self.members.get(member)
        return None if known is None else ServerAddress(known.host, known.port)

    # -- the loop

    async def run(self, tick_s: float) -> None:
        """Reconcile for ever: every `tick_s`, and at once when something happened."""
        while True:
            self.wake.clear()
            try:
                await self.reconcile()
            except YaokiError as error:
                log.warning("not reconciled yet", error=error.message)
            except Exception:  # an agent that ends stops its server: no surprise here is worth that
                log.exception("a round of the reconcile loop failed")
            try:
                async with asyncio.timeout(tick_s):
                    await self.wake.wait()
            except TimeoutError:
                continue

    async def reconcile(self) -> None:
        """Look, decide, act, once."""
        if self._stands_aside():
            return
        if not self.post.manned:
            await self.watchdog_lost()
        async with self.turn:
            await self.life.notice(alive=self.node.postmaster() is not None)
            if self._claims is not None:
                await self._claims.read()
            view = await self.observer.look() if self.node.postmaster() is not None else None
            local = self._local(view)
            if await self.life.notice(alive=local.postmaster):
                self.wake.set()  # it crashed during these looks: look again, at a lease that is given up
                return
            holder = self._holder_address()
            if self._stands_aside():
                return
            action = decide(self.seen, local, self.member, holder)
            await self._act(action, holder)
            if action is Action.NOTHING and view is not None and not view.in_recovery and self.holds():
                await self.synchronous.keep(view)

    def _stands_aside(self) -> bool:
        """Whether somebody else is at the server: a fence, an order to stop, a rewind or clone."""
        return self.life.stopping or self._stopped or self.rejoining()

    def _local(self, view: ServerView | None) -> Local:
        processes = self.node.working()
        role = Role.UNKNOWN if view is None else Role.STANDBY if view.in_recovery else Role.PRIMARY
        promotable = {name for name, member in self.members.items() if member.promotable}
        return Local(
            processes=len(processes),
            postmaster=self.node.postmaster() is not None,
            role=role,
            standby_signal=self.node.has_standby_signal(),
            needs_rewind=self.lineage.needs_rewind,
            needs_clone=self.lineage.needs_clone,
            permit=self.life.leadership is not None and self.life.leadership.may_write(),
            guarded=self.post.armed,
            renounced=self.life.renounced(),
            upstream=self.upstream(),
            stalled=self._is_stalled(view),
            initial=self._initial,
            sole=promotable <= {self.member},
        )

    def _holder_address(self) -> ServerAddress | None:
        record = None if self.seen is None else self.seen.record
        return None if record is None else self.address_of(record.holder)

    def upstream(self) -> ServerAddress | None:
        """The member that the standby is configured to follow, under this member's own name."""
        for name in self.members:
            address = self.address_of(name)
            if address is not None and self.node.is_configured_to_follow(address):
                return address
        return None

    def _is_stalled(self, view: ServerView | None) -> bool:
        if view is None or not view.in_recovery or view.upstream == "streaming":
            self._stalled_since = None
            return False
        self._stalled_since = self._stalled_since or boottime()
        return boottime() - self._stalled_since > _STALL_S

    # -- the actions

    async def _act(self, action: Action, holder: ServerAddress | None) -> None:
        actions: dict[Action, Callable[[ServerAddress | None], Awaitable[None]]] = {
            Action.FOUND: lambda _: self._found(),
            Action.ACQUIRE: lambda _: self._acquire(),
            Action.FENCE: lambda _: self.life.fence("revoked"),
            Action.CLEAN_UP: lambda _: self.life.stopped("crashed"),
            Action.RUN_PRIMARY: lambda _: self._run_primary(),
            Action.RUN_STANDBY: self._run_standby,
            Action.FOLLOW: self._follow,
            Action.REJOIN: self._begin_rejoin,
            Action.RELEASE_GUARD: lambda _: self.post.release(),
        }
        act = actions.get(action)
        if act is None:
            return
        log.info("reconcile", action=action.value)
        try:
            await act(holder)
        except YaokiError:
            metrics.RECONCILED.labels(action.value, "failed").inc()
            raise
        metrics.RECONCILED.labels(action.value, "done").inc()
        if action in _CONTINUES:
            self.wake.set()

    async def _found(self) -> None:
        if await self.claims.found():
            self.post.armed = True
            self.wake.set()

    async def _acquire(self) -> None:
        if await self.claims.acquire():
            self.life.holds_again()

    async def _run_primary(self) -> None:
        self.node.start(may_write=self.leadership.may_write)
        self.life.started("primary")

    async def _run_standby(self, holder: ServerAddress | None) -> None:
        if holder is not None:
            self.node.write_settings(self.node.follow_settings(holder))
        self.node.start(may_write=None)
        self.life.started("standby")

    async def _follow(self, holder: ServerAddress | None) -> None:
        if holder is not None:
            await self.sql.configure(self.node.follow_settings(holder))

    async def _begin_rejoin(self, holder: ServerAddress | None) -> None:
        if holder is not None:
            self._rejoiner.begin(self.sql.at(holder), self._stop_to_rejoin, self._rejoined)

    async def _stop_to_rejoin(self) -> None:
        self.life.ends_by_itself()
        await self.node.stop("fast")

    def _rejoined(self, method: str) -> None:
        self._stalled_since = None
        if method:
            self._announcer.announce(
                MemberRejoined(cluster=self.cluster, member=self.member, epoch=self.epoch(), method=method)
            )
            self.wake.set()

    async def cancel_rejoin(self) -> None:
        """Give a rewind or clone up; it begins anew, or ends in a clone, later."""
        await self._rejoiner.cancel()

    async def shut_down(self) -> None:
        """Stop the server because the agent ends; nothing is started any more. The lease stays in the record."""
        self._stopped = True
        await self.cancel_rejoin()
        await self.life.stopped("shutdown", "fast", patience_s=10.0)

    async def watchdog_lost(self) -> None:
        """Have another watchdog well before the deadline; else stop the server. See `GuardPost.replace`."""
        try:
            await self.post.replace(lambda: None if self.life.leadership is None else self.life.leadership.permit)
        except (TransientError, OSError) as error:
            log.error("there is no watchdog", error=str(error))  # noqa: TRY400 - the sentence says it all
            if self.holds():
                await self.life.fence("lease-lapsed")

    def refuse_while_busy(self) -> None:
        """Raise RejectedError while the directory is being rewound or cloned."""
        if self.rejoining():
            raise RejectedError(f"{self.member} is being rewound or cloned; it can be used when that is done")

"""One process that guards a PostgreSQL: what it is made of, and the order in which it comes up and goes down.

The local side comes first: watchdog, grants and the direct endpoint have to work while NATS is away, because that is
when they are needed.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from starlette.routing import Route
from yaoki.clock import Uuid7Source
from yaoki.commands.agent import AgentStatus, AgentStatusQuery
from yaoki.config.clusters import PostgresAgent
from yaoki.config.connect import nats_settings
from yaoki.events.agent import FailsafeEntered
from yaoki.hands import hand_actions
from yaoki.http import HttpServer, standard_routes
from yaoki.leases import BUCKET, ClusterLease, Member
from yaoki.messaging import Messaging
from yaoki.runs import OrderTable, serve_orders
from yaoki.tasks import EndingGroup
from yaoki.telemetry import get_logger

from health_probe.agent import processes
from health_probe.agent.addresses import ServerAddress
from health_probe.agent.announcer import Announcer
from health_probe.agent.failsafe_client import FailsafeClient
from health_probe.agent.grants import PATH, GrantBook, GrantEndpoint
from health_probe.agent.hands import host_hands
from health_probe.agent.leadership import Leadership
from health_probe.agent.lease_claims import LeaseClaims
from health_probe.agent.lease_store import LeaseStore
from health_probe.agent.lineage import Lineage
from health_probe.agent.mounts import require_exchangeable
from health_probe.agent.observer import Observer
from health_probe.agent.peers import NatsPeers
from health_probe.agent.postgres_guard import PostgresGuard
from health_probe.agent.postgres_node import Followed, PostgresNode
from health_probe.agent.postgres_orders import PostgresOrders
from health_probe.agent.postgres_sql import PostgresSql
from health_probe.agent.programs import PasswordFile, server_user
from health_probe.agent.synchronous import SynchronousStandbys
from health_probe.agent.watchdog import WatchdogClient

if TYPE_CHECKING:
    from yaoki.config import Config
    from yaoki.config.clusters import PostgresCluster

_DRAIN_S = 3.0
log = get_logger(__name__)


def cluster_members(config: Config, cluster: PostgresCluster) -> dict[str, Member]:
    """The members of a cluster as its lease record names them."""
    members = {}
    for name, member in cluster.members.items():
        agent = config.agents.get(member.agent)
        failsafe = agent.failsafe if isinstance(agent, PostgresAgent) else None
        members[name] = Member(
            agent=f"agent-{member.agent}",
            host=member.host,
            port=member.port,
            promotable=member.promotable,
            failsafe_url=f"http://{failsafe}" if failsafe else "",
        )
    return members


class PostgresAgentProcess:
    """See the module.

    Args:
        name: Name in `agents`; the worker is `agent-<name>`.
        settings: That entry.
    """

    def __init__(self, config: Config, name: str, settings: PostgresAgent) -> None:
        require_exchangeable(Path(settings.data_directory))
        self._config = config
        self._settings = settings
        self._worker = f"agent-{name}"
        self._cluster = config.postgres_clusters[settings.cluster]
        self._members = cluster_members(config, self._cluster)
        self._state = Path(settings.state_directory)
        self._announcer = Announcer(Uuid7Source())
        self._book = GrantBook(self._state / "grants.json")
        self._watchdog = WatchdogClient(Path(settings.data_directory), self._state, self._on_watchdog_lost)
        secret = self._cluster.failsafe_secret
        self._secret = None if secret is None else secret.reveal()
        self._failsafe = FailsafeClient(member=settings.member, members=self._members, secret=self._secret)
        self._messaging: Messaging | None = None
        self._announcing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._guard = self._build_guard()

    def _build_guard(self) -> PostgresGuard:
        lease = self._cluster.lease
        own = self._cluster.members[self._settings.member]
        sql = PostgresSql(
            ServerAddress(own.host, own.port),
            user=self._cluster.admin.user,
            password=self._cluster.admin.password.reveal() if self._cluster.admin.password else None,
            database=self._cluster.database,
        )
        data_directory = Path(self._settings.data_directory)
        return PostgresGuard(
            agent=self._worker,
            cluster=self._settings.cluster,
            member=self._settings.member,
            members=self._members,
            lease=lease,
            initial=self._settings.member == next(n for n, m in self._members.items() if m.promotable),
            node=self._build_node(data_directory, own.port),
            lineage=Lineage(self._state / "lineage.json", data_directory),
            sql=sql,
            observer=Observer(sql, interval_s=lease.ttl / 3),
            watchdog=self._watchdog,
            book=self._book,
            announcer=self._announcer,
        )

    def _build_node(self, data_directory: Path, port: int) -> PostgresNode:
        replication = self._cluster.replication
        user = server_user(self._settings.run_as)
        passwords = PasswordFile(self._state / "replication.pgpass")
        password = replication.password.reveal() if replication.password else ""
        passwords.write({replication.user: password}, user)
        return PostgresNode(
            data_directory=data_directory,
            binaries=Path(self._settings.binaries),
            user=user,
            port=port,
            log_file=self._state / "postgres.log",
            followed=Followed(replication.user, passwords, self._settings.member),
        )

    async def run(self) -> None:
        """Guard the server until cancelled; then stop it."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._failsafe.close)
            await self._start_locally(stack)
            stack.push_async_callback(self._watchdog.quit)
            try:
                await self._run_with_nats()
            finally:
                await self._guard.shut_down()
                await self._disconnect()

    async def _disconnect(self) -> None:
        if self._messaging is None:
            return
        if self._announcing is not None:
            await self._announcer.drain(_DRAIN_S)
            self._announcing.cancel()
        await self._messaging.stop()

    async def _start_locally(self, stack: AsyncExitStack) -> None:
        state = await self._watchdog.attach()
        self._guard.life.adopt(guarded=state.deadline is not None)
        if self._settings.failsafe is not None and self._secret is not None:
            endpoint = GrantEndpoint(
                cluster=self._settings.cluster,
                member=self._settings.member,
                secret=self._secret,
                book=self._book,
                known=self._known_record,
                writable=lambda: self._guard.promoting or self._guard.holds(),
            )
            await self._serve([Route(PATH, endpoint.answer, methods=["POST"])], stack)
        if self._settings.http is not None:
            server = HttpServer(standard_routes(self._reasons_not_ready), self._settings.http)
            await server.start()
            stack.push_async_callback(server.stop)
        await self._guard.reconcile()

    async def _serve(self, routes: list[Route], stack: AsyncExitStack) -> None:
        if self._settings.failsafe is None:
            return
        server = HttpServer(routes, self._settings.failsafe)
        await server.start()
        stack.push_async_callback(server.stop)

    async def _run_with_nats(self) -> None:
        async with EndingGroup() as group:
            group.create_task(self._guard.run(min(self._cluster.lease.ttl / 3, 1.0)), name="reconcile")
            group.create_task(self._guard.observer.run(), name="observer")
            group.create_task(self._watch_postmaster(), name="postmaster")
            self._messaging = messaging = await Messaging.connect(
                nats_settings(self._config.nats), service="health-probe", instance=self._worker
            )
            self._connect(messaging)
            table = OrderTable(messaging.kv("commands"), worker=self._worker, instance=self._worker)
            hands = hand_actions(host_hands(self._settings.repairs))
            worker = serve_orders(messaging, table, {**PostgresOrders(self._guard).handlers(), **hands})
            messaging.serve(AgentStatusQuery, self._status, service=self._worker)
            await messaging.start()
            # Not one of the group: what the shutdown establishes is still to be published.
            self._announcing = asyncio.create_task(self._announcer.run(messaging.publisher), name="announcer")
            group.create_task(self._watch_record(messaging), name="record")
            self._guard.wake.set()
            try:
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                await worker.stop()

    def _connect(self, messaging: Messaging) -> None:
        guard = self._guard
        store = LeaseStore(messaging.kv(BUCKET), guard.cluster, self._state / "lease.json")
        leadership = Leadership(
            member=guard.member,
            store=store,
            watchdog=self._watchdog,
            failsafe=self._failsafe,
            members=self._members,
            position=guard.observer.position,
            on_lost=guard.life.fence,
            on_failsafe=self._on_failsafe,
        )
        synchronous = SynchronousStandbys(
            member=guard.member,
            configured=self._cluster.synchronous,
            candidates=self._members,
            grace_s=self._cluster.lease.ttl,
            sql=guard.sql,
            leadership=leadership,
            announce=self._announcer.announce,
        )
        claims = LeaseClaims(
            cluster=guard.cluster,
            member=guard.member,
            members=self._members,
            lease=self._cluster.lease,
            store=store,
            leadership=leadership,
            lineage=guard.lineage,
            book=self._book,
            peers=NatsPeers(messaging, member=guard.member, members=self._members),
            timeline=guard.node.timeline,
        )
        guard.connect(claims, synchronous)

    # -- what wakes the guard

    async def _watch_record(self, messaging: Messaging) -> None:
        """Wake the guard when somebody changes the record beyond a renewal."""
        known: object = None
        async for entry in messaging.kv(BUCKET).watch(self._guard.cluster):
            if entry.key != self._guard.cluster:
                continue
            record = _decoded(entry.value)
            now = None if record is None else (record.holder, record.epoch, record.revoked_by)
            if now != known:
                known = now
                self._guard.wake.set()

    async def _watch_postmaster(self) -> None:
        """Wake the guard the moment the postmaster ends, however it was started."""
        while True:
            pid = self._guard.node.postmaster()
            if pid is None:
                await asyncio.sleep(0.1)
                continue
            await _ended(pid, Path(self._settings.data_directory))
            self._guard.wake.set()
            await asyncio.sleep(0.1)

    def _on_watchdog_lost(self) -> None:
        task = asyncio.get_running_loop().create_task(self._guard.watchdog_lost(), name="watchdog-lost")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_failsafe(self, seconds: float) -> None:
        self._announcer.announce(
            FailsafeEntered(
                agent=self._worker,
                cluster=self._guard.cluster,
                member=self._guard.member,
                epoch=self._guard.epoch(),
                seconds=round(seconds, 3),
            )
        )

    # -- what it tells

    def _known_record(self) -> ClusterLease | None:
        return None if self._guard.seen is None else self._guard.seen.record

    def _reasons_not_ready(self) -> list[str]:
        if self._messaging is None:
            return ["NATS has not been reached since the start"]
        reasons = self._messaging.healthy()
        return reasons if self._watchdog.connected else [*reasons, "the watchdog is away"]

    async def _status(self, _query: AgentStatusQuery) -> AgentStatus:
        guard = self._guard
        working = guard.node.working()
        view = await guard.observer.look(timeout_s=1.0) if working else None
        role = "unknown" if view is None else "standby" if view.in_recovery else "primary"
        if view is not None and not view.exhausted:
            # Still replaying what it has itself: it would report less than it acknowledged. Not to be chosen, nor
            # passed over, before it knows.
            role = "unknown"
        return AgentStatus(
            agent=self._worker,
            cluster=guard.cluster,
            member=guard.member,
            kind="postgres",
            # A holder may start its server at any moment: for whoever wants to promote another it counts as running.
            running=bool(working) or guard.holds(),
            accepting=view is not None,
            role=role,
            holder=guard.holds(),
            epoch=guard.epoch(),
            timeline=guard.node.timeline() if view is None else view.timeline,
            received=0 if view is None else view.received,
            replayed=0 if view is None else view.replayed,
            upstream_connected=view is not None and view.upstream == "streaming",
            synchronous_standbys=() if view is None else view.synchronous,
            granted_s=round(self._book.remaining(), 3),
        )


def _decoded(value: bytes | None) -> ClusterLease | None:
    if value is None:
        return None
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(value, type=ClusterLease)
    return None


async def _ended(pid: int, directory: Path) -> None:
    """Return when the process has ended; at once when it is not the postmaster of `directory`."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        if processes.postmaster_of(directory) != pid:
            return
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)

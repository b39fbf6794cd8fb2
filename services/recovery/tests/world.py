"""A model of a PostgreSQL cluster with its agents, checked at every step: two writable servers end the test.

The servers, leases and clocks are modelled; recovery's steps, the executor and the lease record are the real ones.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from yaoki.commands.agent import AgentStatus
from yaoki.epoch import NO_EPOCH, Epoch
from yaoki.errors import ConflictError, TransientError
from yaoki.events.probe import ProbeResult, ProbeStatus
from yaoki.flags import RouteState
from yaoki.leases import ClusterLease, Member
from yaoki.plans import Order, Outcome, OutcomeStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.clock import Clock
    from yaoki.flag_store import FlagStore
    from yaoki.messaging.ports import KeyValue

CLUSTER = "orders"
MARGIN_S = 1.0


class TwoPrimariesError(AssertionError):
    """What must never happen."""


class Server:
    """One PostgreSQL.

    Attributes:
        hung: It runs, and nobody can log in.
        unreachable: The prober cannot reach it; others may.
        agent_alive: When False nothing renews, and the watchdog stops the server at the deadline.
        broken: It cannot be started.
        read_only: No commit on it succeeds.
        dies_at: Where in a promotion its agent dies: `asked`, `claimed` or `promoted`; empty for nowhere.
        primary: What its directory is: started, it writes.
        renounced: Revision of the record at which its agent gave the lease up.
    """

    def __init__(self, member: str, *, primary: bool, position: int = 1000) -> None:
        self.member = member
        self.running = True
        self.primary = primary
        self.hung = False
        self.unreachable = False
        self.agent_alive = True
        self.position = position
        self.timeline = 1
        self.deadline: float | None = None
        self.held: Epoch = NO_EPOCH
        self.obeyed: Epoch = NO_EPOCH
        self.promotions = 0
        self.broken = False
        self.read_only = False
        self.dies_at = ""
        self.revision = 0
        self.renounced = 0

    def stop(self) -> None:
        """Nothing of it is left, and its agent gives the lease up."""
        self.running, self.hung, self.deadline, self.held = False, False, None, NO_EPOCH
        self.renounced = self.revision

    @property
    def writable(self) -> bool:
        """A hung server counts: it may wake and commit."""
        return self.running and self.primary


class World:
    """The cluster. Start `live` as a task: it renews leases and stops servers at their deadlines.

    Attributes:
        streaming: Standbys say that they receive from the primary.
        on_demoted: What happens the moment the primary was stopped cleanly.
    """

    def __init__(
        self, clusters: KeyValue, flags: FlagStore, clock: Clock, *, standby_position: int = 1000, ttl_s: float = 3.0
    ) -> None:
        self.clusters = clusters
        self.flags = flags
        self.clock = clock
        self.ttl_s = ttl_s
        self.servers = {
            "pg-a": Server("pg-a", primary=True),
            "pg-b": Server("pg-b", primary=False, position=standby_position),
        }
        self.effects: list[str] = []
        self.outcomes: dict[str, Outcome] = {}
        self.streaming = False
        self.on_demoted: Callable[[], None] = lambda: None

    def crash(self, member: str) -> None:
        """The server is gone, its agent alive."""
        self.servers[member].stop()

    async def found(self) -> None:
        """Write the first lease record, with pg-a as holder."""
        members = {name: Member(agent=f"agent-{name}", host="127.0.0.1", port=1) for name in self.servers}
        record = ClusterLease(
            cluster=CLUSTER, holder="pg-a", ttl_s=self.ttl_s, margin_s=MARGIN_S, members=members,
            position=1000, timeline=1,
        )  # fmt: skip
        self.servers["pg-a"].revision = await self.clusters.create(CLUSTER, msgspec.json.encode(record))
        self.servers["pg-a"].deadline = self.clock.monotonic() + self.ttl_s - MARGIN_S

    def assert_one_primary(self) -> None:
        """Raise when two servers are writable."""
        writable = [server.member for server in self.servers.values() if server.writable]
        if len(writable) > 1:
            raise TwoPrimariesError(f"{writable} are writable at the same time; effects: {self.effects}")

    async def live(self) -> None:
        """Renew and enforce deadlines for ever."""
        renewed = self.clock.monotonic()
        while True:
            now = self.clock.monotonic()
            if now - renewed >= self.ttl_s / 3:
                renewed = now
                for server in self.servers.values():
                    await self._renew(server)
            for server in self.servers.values():
                if server.deadline is not None and self.clock.monotonic() >= server.deadline:
                    server.stop()
                await self._take_up(server)
            self.assert_one_primary()
            await self.clock.sleep(0.1)

    async def _renew(self, server: Server) -> None:
        if server.deadline is None or not server.agent_alive:
            return
        sent = self.clock.monotonic()
        record, revision = await self.record()
        if record.holder != server.member or record.revoked_by or record.epoch != server.held:
            server.stop()
            return
        try:
            renewal = msgspec.structs.replace(record, renewals=record.renewals + 1)
            server.revision = await self.clusters.update(CLUSTER, msgspec.json.encode(renewal), revision=revision)
        except ConflictError:
            return
        server.deadline = sent + self.ttl_s - MARGIN_S

    async def _take_up(self, server: Server) -> None:
        """What an agent does with a server that does not run: see `health_probe.agent.reconcile`."""
        if server.running or server.broken or not server.agent_alive:
            return
        record, revision = await self.record()
        if not server.primary:
            server.running = True
        elif record.holder == server.member and not record.revoked_by and revision > server.renounced:
            sent = self.clock.monotonic()
            renewal = msgspec.structs.replace(record, renewals=record.renewals + 1)
            try:
                server.revision = await self.clusters.update(CLUSTER, msgspec.json.encode(renewal), revision=revision)
            except ConflictError:
                return
            server.deadline, server.held, server.running = sent + self.ttl_s - MARGIN_S, record.epoch, True

    async def record(self) -> tuple[ClusterLease, int]:
        """The lease record with its revision."""
        entry = await self.clusters.get(CLUSTER)
        assert entry is not None
        return msgspec.json.decode(entry.value or b"", type=ClusterLease), entry.revision

    # -- what recovery sees

    async def status(self, agent: str) -> AgentStatus | None:
        """See `recovery.ports.Agents`."""
        server = self.servers[agent.removeprefix("agent-")]
        if not server.agent_alive:
            return None
        accepting = server.running and not server.hung
        role = "unknown" if not accepting else "primary" if server.primary else "standby"
        return AgentStatus(
            agent=agent, cluster=CLUSTER, member=server.member, kind="postgres", running=server.running,
            accepting=accepting, role=role, holder=server.deadline is not None, epoch=server.obeyed,
            timeline=server.timeline, received=server.position, replayed=server.position,
            upstream_connected=self.streaming and accepting and not server.primary,
        )  # fmt: skip

    async def probe(self, target: str, within_s: float) -> ProbeResult:
        """See `recovery.ports.Prober`: follows the route, and needs a server that can commit."""
        route = await self.flags.route(CLUSTER)
        member = "pg-a" if route is None or route.primary is None else route.primary.member
        server = self.servers[member]
        cut = route is not None and route.state is RouteState.CUT
        well = server.writable and not server.hung and not server.unreachable and not cut
        return ProbeResult(
            status=ProbeStatus.HEALTHY if well else ProbeStatus.UNHEALTHY,
            at=self.clock.now(),
            response_ms=within_s,
            detail=target,
        )

    check = probe


class AgentWorker:
    """The agent as a worker of durable runs: its tables outlive its executors."""

    def __init__(self, world: World, server: Server) -> None:
        self._world = world
        self._server = server
        self._turn = asyncio.Lock()

    async def perform(self, order: Order) -> Outcome:
        """See `Worker.perform`."""
        self._answer_or_fail()
        async with self._turn:
            known = self._world.outcomes.get(order.command_id)
            if known is not None:
                return known
            if order.epoch < self._server.obeyed:
                return _refused(order, "stale_epoch", self._server.obeyed)
            self._server.obeyed = order.epoch
            await self._world.clock.sleep(0.05)
            outcome = await self._carry_out(order)
            self._world.outcomes[order.command_id] = outcome
            return outcome

    async def ask(self, order: Order) -> Outcome | None:
        """See `Worker.ask`."""
        self._answer_or_fail()
        async with self._turn:
            return self._world.outcomes.get(order.command_id)

    async def cancel(self, order: Order) -> Outcome:
        """See `Worker.cancel`."""
        self._answer_or_fail()
        async with self._turn:
            cancelled = Outcome(command_id=order.command_id, status=OutcomeStatus.CANCELLED)
            return self._world.outcomes.setdefault(order.command_id, cancelled)

    def _answer_or_fail(self) -> None:
        if not self._server.agent_alive:
            raise TransientError(f"the agent of {self._server.member} does not answer")

    async def _carry_out(self, order: Order) -> Outcome:
        self._world.effects.append(f"{order.action} {self._server.member}")
        match order.action:
            case "postgres.stop":
                self._server.stop()
                return _succeeded(order, processes=0)
            case "postgres.demote" | "postgres.final-position":
                return self._hand_over(order)
            case "postgres.promote":
                return await self._promote(order)
            case "postgres.follow" if order.params["primary"] == self._server.member:
                return Outcome(command_id=order.command_id, status=OutcomeStatus.SKIPPED)
            case "postgres.write-check" if not self._server.writable or self._server.read_only:
                return Outcome(command_id=order.command_id, status=OutcomeStatus.FAILED, error="read only")
            case _:
                return _succeeded(order)

    def _hand_over(self, order: Order) -> Outcome:
        if order.action == "postgres.demote":
            self._server.stop()
            self._world.on_demoted()
            return _succeeded(order, processes=0)
        if self._server.running:
            return _refused(order, "invalid", self._server.obeyed)
        # The last record begins before the position that is behind it.
        return _succeeded(order, position=self._server.position - 1, timeline=self._server.timeline)

    async def _promote(self, order: Order) -> Outcome:
        server, world = self._server, self._world
        self._may_die("asked")
        record, revision = await world.record()
        mine = record.holder == server.member and record.epoch <= order.epoch and not record.revoked_by
        if mine and server.writable and server.deadline is not None:
            return _succeeded(order, timeline=server.timeline)
        if not server.running or server.primary:
            return _refused(order, "invalid", server.obeyed)
        if not mine and (not record.revoked_by or order.epoch <= record.epoch):
            return _refused(order, "unsafe", server.obeyed)
        holder = msgspec.structs.replace(record, holder=server.member, epoch=order.epoch, revoked_by="")
        sent = world.clock.monotonic()
        server.revision = await world.clusters.update(CLUSTER, msgspec.json.encode(holder), revision=revision)
        server.deadline, server.held = sent + world.ttl_s - MARGIN_S, order.epoch
        self._may_die("claimed")
        server.promotions += 1
        server.primary, server.timeline = True, server.timeline + 1
        world.assert_one_primary()
        self._may_die("promoted")
        return _succeeded(order, timeline=server.timeline)

    def _may_die(self, stage: str) -> None:
        if self._server.dies_at == stage:
            self._server.agent_alive, self._server.dies_at = False, ""
        self._answer_or_fail()


def _succeeded(order: Order, **result: Any) -> Outcome:
    return Outcome(command_id=order.command_id, status=OutcomeStatus.SUCCEEDED, result=result)


def _refused(order: Order, code: str, known: Epoch) -> Outcome:
    return Outcome(
        command_id=order.command_id,
        status=OutcomeStatus.REFUSED,
        error_code=code,
        error=code,
        result={"known": [known.incarnation, known.counter]},
    )

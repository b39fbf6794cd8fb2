"""Wires the prober; the only place that opens connections."""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import structlog
from yaoki.clock import SystemClock, Uuid7Source
from yaoki.commands.probe import CheckReply, CheckTarget, ListTargets
from yaoki.config.connect import nats_settings
from yaoki.errors import FatalError, RejectedError, TransientError
from yaoki.flag_store import FlagStore
from yaoki.flags import BUCKET as FLAGS
from yaoki.http import HttpServer, standard_routes
from yaoki.messaging import Messaging
from yaoki.runs.leases import BUCKET as LEASES
from yaoki.tasks import EndingGroup
from yaoki.telemetry import setup_telemetry

from health_probe.adapters.archive import EventArchive
from health_probe.adapters.host import Host
from health_probe.adapters.intake import Intake
from health_probe.adapters.live import NatsLiveFeed
from health_probe.adapters.network import Network
from health_probe.adapters.own_network import OwnNetwork
from health_probe.adapters.own_resolver import SystemResolver
from health_probe.adapters.prometheus import PrometheusGauges, PrometheusWithheld
from health_probe.adapters.self_monitor import SelfMonitor
from health_probe.board import Board
from health_probe.catalog import cases, monitored_targets, routed_clusters
from health_probe.causes_first import CausesFirst
from health_probe.crowd import Crowd, CrowdLimits
from health_probe.gate import Gate
from health_probe.handlers import CheckInPage, HealthPages, ProbeHandlers, prober_service
from health_probe.judge import Judge
from health_probe.kinds import Surroundings
from health_probe.membership import Membership
from health_probe.ownership import Ownership
from health_probe.prober import Prober
from health_probe.records import BUCKET as HEALTH
from health_probe.reporter import Reporter
from health_probe.roster import Member
from health_probe.routes import RouteBook
from health_probe.scheduler import Scheduler
from health_probe.self_health import Limits, SelfHealth
from health_probe.watch_post import WatchPost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from yaoki.clock import Clock
    from yaoki.config import Config

    from health_probe.targets import MonitoredTarget

SERVICE: Final = "health-probe"

T = TypeVar("T")

_RETRY_S: Final = 1.0
_log = structlog.get_logger(__name__)


async def run_prober(config: Config, instance: str, vantage: str | None = None) -> None:
    """Probe what falls to this prober until cancelled; then deliver what is left, hand over and close.

    Args:
        config: Loaded with the secrets of `nats` and `targets`.
        instance: Name of this prober, unique within its vantage.
        vantage: From where it looks; may be left out where there is only one.

    Raises:
        RejectedError: The vantage is not configured, or has to be named.
        FatalError: Another process of this vantage has the same name.
    """
    vantage = _vantage(config, vantage)
    async with AsyncExitStack() as stack:
        telemetry = setup_telemetry(SERVICE, instance, config.telemetry, secrets=config.secrets())
        stack.callback(telemetry.shutdown)
        clock = SystemClock()
        pages, check_ins = HealthPages(Host(), clock), CheckInPage()
        if config.probe.http is not None:
            routes = [*pages.routes, *check_ins.routes, *standard_routes(pages.reasons_not_ready)]
            server = HttpServer(routes, config.probe.http)
            await server.start()
            stack.push_async_callback(server.stop)
        messaging = await stack.enter_async_context(
            Messaging.connect(nats_settings(config.nats), service=SERVICE, instance=instance)
        )
        try:
            await _probe(config, messaging, vantage, pages=pages, check_ins=check_ins, clock=clock)
        except BaseExceptionGroup as group:
            # One sentence for whoever reads the log, not the tasks that it came up through, nor what broke in its wake.
            if (fatal := group.subgroup(FatalError)) is None:
                raise
            raise _first(fatal) from None


def _vantage(config: Config, named: str | None) -> str:
    known = config.vantages()
    if named is None and len(known) == 1:
        return known[0]
    if named not in known:
        found = "is missing" if named is None else f"{named!r} is not configured"
        raise RejectedError(f"--vantage {found}; expected one out of probe.vantages: {', '.join(known)}")
    return named


async def _probe(
    config: Config, messaging: Messaging, vantage: str, *, pages: HealthPages, check_ins: CheckInPage, clock: Clock
) -> None:
    surroundings = Surroundings(
        config=config, network=Network(), routes=RouteBook(), vantage=vantage, prober=messaging.instance
    )
    intake = Intake(messaging, surroundings.heartbeats, surroundings.traffic, clock)

    async def begin(watch: Watch) -> None:
        messaging.serve(CheckTarget, watch.handlers.check)
        messaging.serve(ListTargets, watch.handlers.list)
        await intake.serve()
        await messaging.start()
        check_ins.open(intake.check_in)
        pages.open(watch.post, lambda: [*messaging.healthy(), *watch.gate.reasons()])
        watch.group.create_task(intake.run(), name="intake")
        _keep_for_good()

    await keep_watch(messaging, surroundings, clock, begin)


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """A prober at work.

    Attributes:
        group: Runs what belongs to it; ends when any of it fails.
    """

    post: WatchPost
    handlers: ProbeHandlers
    gate: Gate
    group: asyncio.TaskGroup


async def keep_watch(
    messaging: Messaging, surroundings: Surroundings, clock: Clock, begin: Callable[[Watch], Awaitable[None]]
) -> None:
    """Watch what falls to this prober, or to this agent on its own host, until cancelled; then hand over.

    Args:
        messaging: Connected.
        surroundings: From where is looked, and for whom.
        clock: Times everything.
        begin: Called once everything is there; starts `messaging`, and what else this process does.
    """
    config, routes, vantage = surroundings.config, surroundings.routes, surroundings.vantage
    gate, monitor = self_check(config, messaging, vantage, clock)
    targets = [gated(target, gate) for target in monitored_targets(surroundings, clock)]
    flags = FlagStore(messaging.kv(FLAGS), messaging.publisher, clock)
    await _patiently(lambda: routes.load(flags, routed_clusters(config)))
    async with EndingGroup() as group:
        group.create_task(monitor.run(), name="self check")
        post = watch_post(config, messaging, targets, vantage=vantage, clock=clock, group=group)
        await _patiently(post.open)
        handlers = ProbeHandlers(post, _Colleagues(messaging))
        messaging.serve(CheckTarget, handlers.check_here, service=prober_service(post.membership.me))
        await begin(Watch(post=post, handlers=handlers, gate=gate, group=group))
        group.create_task(routes.follow(flags), name="routes")
        try:
            await post.run()
        finally:
            await post.close()


def self_check(config: Config, messaging: Messaging, vantage: str, clock: Clock) -> tuple[Gate, SelfMonitor]:
    """What keeps a prober that is not well itself from giving verdicts."""
    settings = config.probe.self_check
    limits = Limits(loop_lag_s=settings.loop_lag, clock_jump_s=settings.clock_jump, settle_s=settings.settle)
    health = SelfHealth(limits, now=clock.monotonic(), wall=clock.now())
    crowd = Crowd(CrowdLimits(share=settings.crowd, least=settings.crowd_targets))
    network = OwnNetwork(settings.references)
    gate = Gate(health=health, crowd=crowd, resolver=SystemResolver(), counter=PrometheusWithheld(), clock=clock)
    monitor = SelfMonitor(
        health=health, crowd=crowd, network=network, messaging=messaging, vantage=vantage, clock=clock
    )
    return gate, monitor


def gated(target: MonitoredTarget, gate: Gate) -> MonitoredTarget:
    """The same target; of its results only what the gate lets through."""
    return msgspec.structs.replace(target, probe=gate.guarding(target.name, target.probe))


def watch_post(
    config: Config,
    messaging: Messaging,
    targets: Sequence[MonitoredTarget],
    *,
    vantage: str,
    clock: Clock,
    group: asyncio.TaskGroup,
) -> WatchPost:
    """Put one prober of one vantage together.

    Args:
        config: Says who looks from where.
        messaging: Connected.
        targets: Every configured target.
        vantage: From where this prober looks.
        clock: Times everything.
        group: Runs what probes; ends when any of it fails.
    """
    me = Member(vantage, messaging.instance)
    process = f"{me.name}#{Uuid7Source().new()}"
    vantages = {target.name: config.vantages_of(target.name) for target in targets}
    health = messaging.kv(HEALTH)
    board = Board(me=process, vantages=vantages, clock=clock)
    depends_on = {name: target.depends_on for name, target in config.targets.items()}
    judge = Judge(cases=cases(config, targets), depends_on=depends_on, board=board, clock=clock)
    membership = Membership(messaging.kv(LEASES), me=me, boot=process, clock=clock, ttl_s=config.probe.lease)
    gauges = PrometheusGauges()
    reporter = Reporter(
        board=board,
        judge=judge,
        publisher=messaging.publisher,
        archive=EventArchive(messaging),
        health=health,
        live=NatsLiveFeed(messaging),
        gauges=gauges,
        may_speak=membership.may_speak,
    )
    prober = Prober(targets=targets, me=process, outlet=reporter, clock=clock)
    causes_first = CausesFirst(prober, depends_on)
    scheduler = Scheduler(clock=clock, random=random.Random(), observer=causes_first)  # noqa: S311 - jitter, no secret
    causes_first.send_to(scheduler.hurry)
    ownership = Ownership(
        me=me,
        process=process,
        vantages=vantages,
        prober=prober,
        board=board,
        judge=judge,
        reporter=reporter,
        scheduler=scheduler,
        health=health,
        counts=gauges,
        spawn=lambda work, name: group.create_task(work, name=name),
    )
    board.attach(ownership)
    judge.send_to(reporter)
    membership.tell(ownership)
    post = WatchPost(
        health=health,
        board=board,
        judge=judge,
        membership=membership,
        reporter=reporter,
        prober=prober,
        ownership=ownership,
    )
    messaging.on_reconnect(post.interrupted)
    return post


class _Colleagues:
    """See `handlers.Colleagues`."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging

    async def check(self, member: Member, request: CheckTarget, within_s: float) -> CheckReply:
        """See `Colleagues.check`."""
        reply = await self._messaging.request(request, service=prober_service(member), timeout_s=within_s)
        return msgspec.convert(reply, CheckReply, from_attributes=True)


def _keep_for_good() -> None:
    """Spare every later collection of garbage what stays as long as the process: all targets and what probes them.

    Walking through ten thousand of them stops the event loop for tenths of a second, and what is due then runs late.
    """
    gc.collect()
    gc.freeze()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Read what the prober must know before it probes, for as long as it takes."""
    while True:
        try:
            return await read()
        except TransientError as exc:
            _log.warning("cannot read the state from before, trying again", error=exc.message)
            await asyncio.sleep(_RETRY_S)

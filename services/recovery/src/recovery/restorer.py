"""Looks for clusters that a run has left without a primary, and starts a run when there is a safe way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
from yaoki.flags import RouteState
from yaoki.runs.errors import ResourceBusyError
from yaoki.runs.starting import StartRun
from yaoki.telemetry import get_logger

from recovery.candidates import choose_candidate
from recovery.failover import local
from recovery.intake import RUN_KIND, as_token, primary_target
from recovery.restoration import Abandoned, NoWay, Way, pause_after, restoration_plan, way_back

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.commands.recovery import RunView
    from yaoki.config.model import Config
    from yaoki.flags import Route
    from yaoki.plans import Call
    from yaoki.runs import RunState

    from recovery.cluster_members import ClusterMembers
    from recovery.fencing import Fence
    from recovery.ports import Flags

_UNFINISHED = frozenset({"running", "paused"})
log = get_logger(__name__)


class Runs(Protocol):
    """What is used of `yaoki.runs.RunExecutor`."""

    async def start(self, start: StartRun) -> str:
        """Start a run, once for each id."""
        ...

    async def view(self, run_id: str) -> RunView | None:
        """A run as it stands."""
        ...

    async def finished(self, run_id: str) -> RunState:
        """A run that has ended."""
        ...


class _Attempts(msgspec.Struct):
    """How often it was tried for one cut of a route. Forgotten with the process: its successor tries once too early."""

    cut: str
    number: int = 1
    not_before: float = 0.0
    said: str = ""


class Restorer:
    """One look at every cluster; meant to be called every second or so, by every instance."""

    def __init__(
        self, config: Config, *, members: ClusterMembers, fence: Fence, flags: Flags, runs: Runs, clock: Clock
    ) -> None:
        self._config = config
        self._members = members
        self._fence = fence
        self._flags = flags
        self._runs = runs
        self._clock = clock
        self._attempts: dict[str, _Attempts] = {}

    async def look(self) -> None:
        """Start what can be started.

        Raises:
            TransientError: NATS is away.
        """
        for cluster in self._config.postgres_clusters:
            route = await self._flags.route(cluster)
            if route is None or route.state is not RouteState.CUT or not route.by:
                self._attempts.pop(cluster, None)
            elif await self._is_over(route.by):
                await self._restore(cluster, route)

    async def _is_over(self, run_id: str) -> bool:
        """Only what a run of recovery has cut is opened again; a cut by anybody else is meant to stay."""
        run = await self._runs.view(run_id)
        return run is not None and run.status not in _UNFINISHED

    async def _restore(self, cluster: str, route: Route) -> None:
        attempts = self._attempts_of(cluster, route)
        run_id = as_token(f"restore-{attempts.cut}-{attempts.number}")
        if await self._runs.view(run_id) is not None:
            if await self._is_over(run_id):
                attempts.not_before = self._clock.monotonic() + pause_after(attempts.number)
                attempts.number += 1
            return
        if self._clock.monotonic() < attempts.not_before:
            return
        seen = await self._see(cluster, route)
        way = NoWay("there is no lease record") if seen is None else way_back(seen)
        if seen is None or isinstance(way, NoWay):
            self._say(attempts, cluster, way)
            return
        start = await self._start_of(run_id, way, seen, route)
        try:
            await self._runs.start(start)
        except ResourceBusyError as busy:
            log.info("service is not restored while another run works", cluster=cluster, run=busy.run_id)
        else:
            log.warning("service is being restored", cluster=cluster, way=way.value, run=run_id)

    def _attempts_of(self, cluster: str, route: Route) -> _Attempts:
        cut = f"{cluster}-{route.epoch.incarnation}-{route.epoch.counter}"
        found = self._attempts.get(cluster)
        if found is None or found.cut != cut:
            found = self._attempts[cluster] = _Attempts(cut=cut)
        return found

    def _say(self, attempts: _Attempts, cluster: str, way: Way | NoWay) -> None:
        """Once for each reason: this is looked at every second."""
        reason = way.reason if isinstance(way, NoWay) else ""
        if attempts.said != reason:
            attempts.said = reason
            log.warning("service cannot be restored yet", cluster=cluster, reason=reason)

    async def _see(self, cluster: str, route: Route) -> Abandoned | None:
        version = await self._fence.read(cluster)
        if version is None:
            return None
        return Abandoned(
            record=version.record,
            previous="" if route.primary is None else route.primary.member,
            holder=await self._members.status(cluster, version.record.holder),
            choice=choose_candidate(await self._members.snapshot(version.record)),
        )

    async def _start_of(self, run_id: str, way: Way, seen: Abandoned, route: Route) -> StartRun:
        cluster = seen.record.cluster
        ended = await self._runs.finished(route.by)
        chosen = ended.result("choose-candidate") or {}
        lag_bytes = chosen.get("lag_bytes") if chosen.get("candidate") == seen.record.holder else None
        settings = self._members.settings(cluster)
        return StartRun(
            run_kind=RUN_KIND,
            run_id=run_id,
            resource=cluster,
            plan=restoration_plan(way, seen, settings, verify=self._check(cluster), lag_bytes=lag_bytes),
            incident_id=ended.incident_id,
            reason=f"run {route.by} ended with the route of {cluster} cut; {way.value} is safe now",
            facts={"cut_by": route.by},
        )

    def _check(self, cluster: str) -> Call | None:
        """A fresh probe of the cluster's primary, where one is configured."""
        target = primary_target(self._config, cluster)
        return local("check-target", target=target) if target else None

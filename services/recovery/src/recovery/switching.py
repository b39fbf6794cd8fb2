"""What people order of healthy clusters: `api.recovery.switchover`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from yaoki.commands.recovery import OrderAccepted
from yaoki.errors import ErrorCode, RejectedError
from yaoki.runs.starting import StartRun

from recovery.candidates import NoCandidate
from recovery.failover import local
from recovery.intake import RUN_KIND, as_token, primary_target
from recovery.switchover import choose_successor, cooling_until, is_cut, switchover_plan

if TYPE_CHECKING:
    from yaoki.clock import Clock, IdSource
    from yaoki.commands.recovery import RunView, SwitchOver
    from yaoki.config.model import Config
    from yaoki.subjects import Subjects

    from recovery.guarding import Guards
    from recovery.ports import Flags
    from recovery.switchover import Healthy


class Runs(Protocol):
    """What is used of `yaoki.runs.RunExecutor`."""

    async def start(self, start: StartRun) -> str:
        """Start a run, once for each id."""
        ...

    async def view(self, run_id: str) -> RunView | None:
        """A run as it stands."""
        ...


class Looks(Protocol):
    """What is used of `recovery.steps.switchover.SwitchoverSteps`."""

    async def look(self, cluster: str) -> Healthy:
        """The cluster, asked now."""
        ...


class SwitchoverHandlers:
    """Checks an order and starts its run."""

    def __init__(
        self,
        config: Config,
        *,
        looks: Looks,
        guards: Guards,
        flags: Flags,
        runs: Runs,
        subjects: Subjects,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._config = config
        self._looks = looks
        self._guards = guards
        self._flags = flags
        self._runs = runs
        self._subjects = subjects
        self._clock = clock
        self._ids = ids

    async def order(self, request: SwitchOver) -> OrderAccepted:
        """Start the run of a switchover, once for each `order_id`; it stands in its journal when this answers.

        Raises:
            RejectedError: It may not begin now; says why. Nothing was done.
            TransientError: NATS is away.
        """
        order_id = as_token(request.order_id or self._ids.new())
        run_id = as_token(f"order-{order_id}")
        if await self._runs.view(run_id) is None:
            await self._runs.start(await self._start_of(request, run_id))
        watch = f"nats sub '{self._subjects.run('recovery', run_id)}'"
        return OrderAccepted(order_id=order_id, run_id=run_id, watch=watch)

    async def _start_of(self, request: SwitchOver, run_id: str) -> StartRun:
        cluster = request.cluster
        settings = self._config.postgres_clusters.get(cluster)
        if settings is None:
            known = ", ".join(sorted(self._config.postgres_clusters)) or "(there is none)"
            raise RejectedError(
                f"cluster {cluster!r} is not configured; expected a name under postgres_clusters: {known}",
                code=ErrorCode.NOT_FOUND,
            )
        target = primary_target(self._config, cluster)
        await self._refuse_while_held(cluster, target)
        successor = choose_successor(await self._looks.look(cluster), request.to)
        if isinstance(successor, NoCandidate):
            raise RejectedError(successor.reason, code=ErrorCode.PRECONDITION)
        verify = local("check-target", target=target) if target else None
        return StartRun(
            run_kind=RUN_KIND,
            run_id=run_id,
            resource=cluster,
            plan=switchover_plan(cluster, settings, successor, verify=verify),
            started_by=request.by,
            reason=request.reason or f"ordered by {request.by}",
            facts={"target": target or cluster},
        )

    async def _refuse_while_held(self, cluster: str, target: str) -> None:
        """A pause, a guard, or a change of the primary that has not proven itself yet."""
        await self._guards.refresh()
        held = self._guards.holds(target)
        if held is not None:
            raise RejectedError(f"no switchover of {cluster} now: {held.reason}", code=ErrorCode.PRECONDITION)
        route = await self._flags.route(cluster)
        if is_cut(route):
            raise RejectedError(f"the route of {cluster} is cut; it is served again first", code=ErrorCode.PRECONDITION)
        until = cooling_until(route, self._config.recovery.guards.soak)
        if until is not None and self._clock.now() < until:
            raise RejectedError(
                f"the route of {cluster} was changed less than {self._config.recovery.guards.soak:g} s ago; order it "
                f"again after {until.isoformat(timespec='seconds')}",
                code=ErrorCode.PRECONDITION,
            )

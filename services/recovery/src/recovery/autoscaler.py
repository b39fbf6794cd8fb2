"""Applications whose number of instances follows their load: looks, and starts the runs that change it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import YaokiError
from yaoki.plans import Branch, Call, Plan, Step, StepKind
from yaoki.runs.errors import ResourceBusyError
from yaoki.runs.starting import StartRun
from yaoki.telemetry import get_logger

from recovery.hand_steps import HANDS
from recovery.intake import POLICY, RUN_KIND, as_token
from recovery.scaling import Direction, Load, Watched, watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from yaoki.clock import Clock
    from yaoki.config.applications import Application
    from yaoki.config.model import Config
    from yaoki.runs import RunExecutor

    from recovery.guarding import Guards
    from recovery.ports import Capacities, LoadReadings

_LOOK_S = 20.0
_SCALE_S = 180.0
_log = get_logger(__name__)


class Autoscaler:
    """Looks at every application with `scaling.load`; meant to be called every second or so.

    Any number of instances may look: a run's identity is the minute in which it was decided, its resource is the
    application's, and the hand decides again by what stands at the deployment.
    """

    def __init__(
        self,
        config: Config,
        *,
        readings: LoadReadings,
        capacities: Capacities,
        executor: RunExecutor,
        guards: Guards,
        in_maintenance: Callable[[str, datetime], bool],
        clock: Clock,
    ) -> None:
        applications = config.recovery.applications
        self._applications = {
            name: one for name, one in applications.items() if one.scaling is not None and one.scaling.load is not None
        }
        self._readings = readings
        self._capacities = capacities
        self._executor = executor
        self._guards = guards
        self._in_maintenance = in_maintenance
        self._clock = clock
        self._watched: dict[str, Watched] = {}
        self._due: dict[str, datetime] = {}

    @property
    def needed(self) -> bool:
        """There is such an application."""
        return bool(self._applications)

    async def look(self) -> None:
        """Look at those whose time has come. What cannot be seen begins its waiting time anew."""
        for name, application in self._applications.items():
            if name in self._due and self._clock.now() < self._due[name]:
                continue
            try:
                await self._look_at(name, application)
            except YaokiError as error:
                before = self._watched.get(name, Watched())
                self._watched[name] = Watched(tried=before.tried)
                _log.warning("load not followed", application=name, error=error.message)

    async def _look_at(self, name: str, application: Application) -> None:
        scaling = application.scaling
        if scaling is None or scaling.load is None:
            return
        now, watched = self._clock.now(), self._watched.get(name, Watched())
        self._due[name] = now + timedelta(seconds=scaling.load.every)
        load, capacity = await self._readings.read(scaling.load), await self._capacities.read(scaling)
        if capacity is None or any(map(self._left_alone, application.targets)):
            self._watched[name] = Watched(tried=watched.tried)
            return
        self._watched[name], direction = watch(
            scaling, watched, current=capacity.instances, load=load, changed=capacity.changed, now=now
        )
        if direction is not None:
            await self._start(name, application, direction, load)

    def _left_alone(self, target: str) -> bool:
        """Its failure is being repaired, a guard holds automation back, or people work on it."""
        failed = any(one.failure.target == target for one in self._guards.open)
        return failed or self._guards.holds(target) is not None or self._in_maintenance(target, self._clock.now())

    async def _start(self, name: str, application: Application, direction: Direction, load: Load) -> None:
        minute = self._clock.now().strftime("%Y%m%d-%H%M")
        start = StartRun(
            run_kind=RUN_KIND,
            run_id=as_token(f"scale-{direction}-{name}-{minute}".lower()),
            resource=f"app-{name}",
            plan=scaling_plan(name, direction, load),
            started_by=POLICY,
            reason=f"the load of {name} has asked for it long enough",
            facts={"target": next(iter(application.targets), name), "application": name},
        )
        try:
            run_id = await self._executor.start(start)
        except ResourceBusyError as busy:
            _log.info("scaling left to a later look", application=name, behind=busy.run_id)
        else:
            _log.info("scaling run started", application=name, run=run_id, direction=direction)


def scaling_plan(application: str, direction: Direction, load: Load) -> Plan:
    """Look, then change the number by what was seen, with the hand that the action `scale-out` uses. Pure."""
    name = f"scale-{direction}"
    params = {"application": application, "direction": direction, "load": msgspec.to_builtins(load)}
    look = Call(worker=HANDS, action="kubernetes.scale", params={**params, "dry_run": True})
    act = Call(worker=HANDS, action="kubernetes.scale", params={**params, "before": f"${{look-{name}.before}}"})
    steps = (
        Step(id=f"look-{name}", do=look, timeout_s=_LOOK_S),
        Step(id=name, do=act, kind=StepKind.FORWARD, timeout_s=_SCALE_S),
    )
    return Plan(name=name, branches=(Branch(name=name, steps=steps),))

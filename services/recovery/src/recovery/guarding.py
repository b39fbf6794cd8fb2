"""The guards at work: what they remember and what they see, put to the decisions of `recovery.guards`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from yaoki.events.probe import FailureType
from yaoki.events.runs import Ending
from yaoki.runs.decisions import Hold

from recovery import metrics
from recovery.guard_book import GuardBook, Helped, OpenFailure
from recovery.guards import Go, Snapshot, Wait, brake_wait, decide_guard, hold, next_brake, too_many
from recovery.intake import POLICY, run_id_of

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.clock import Clock
    from yaoki.config.model import Config
    from yaoki.events.probe import FailureDetected
    from yaoki.runs import RunState

_REPAIRED = frozenset({Ending.COMPLETED, Ending.COMPLETED_WITH_SKIPS})
_LOOKS = ("recheck",)


class Guards:
    """See `recovery.guards`. `refresh` is called all the time; the gate decides by what it saw last."""

    def __init__(self, config: Config, book: GuardBook, clock: Clock) -> None:
        self._config = config
        self._settings = config.recovery.guards
        self.book = book
        self._clock = clock
        self._open: tuple[OpenFailure, ...] = ()
        self._snapshot = Snapshot()
        self._arrivals: list[set[str]] = []

    @property
    def snapshot(self) -> Snapshot:
        """As last seen."""
        return self._snapshot

    @property
    def open(self) -> tuple[OpenFailure, ...]:
        """Open failures as last seen."""
        return self._open

    async def refresh(self) -> None:
        """Look at everything that concerns all targets, and put the brake on or off."""
        arrived: set[str] = set()
        self._arrivals.append(arrived)
        try:
            await self._look(arrived)
        finally:
            self._arrivals = [one for one in self._arrivals if one is not arrived]

    async def _look(self, arrived: set[str]) -> None:
        """What has arrived while it was read counts as well: otherwise a slow look would let go what is held."""
        now = self._clock.now()
        opened = tuple(await self.book.open_failures())
        snapshot = await self.book.snapshot(len(self._config.targets), opened)
        snapshot = msgspec.structs.replace(snapshot, failed=snapshot.failed | arrived)
        brake = next_brake(self._settings, snapshot, now)
        if brake is not None and brake != snapshot.brake:
            await self.book.set_brake(brake)
            snapshot = msgspec.structs.replace(snapshot, failed=snapshot.failed | arrived)
        self._open = opened
        self._snapshot = msgspec.structs.replace(snapshot, brake=brake)
        metrics.OPEN.set(len(self._open))
        metrics.BRAKE.set(too_many(self._settings, self._snapshot))

    async def opened(self, failure: OpenFailure) -> OpenFailure:
        """Note an open failure, and count it at once: a thousand may arrive before the next look."""
        noted = await self.book.open(failure)
        for arrived in self._arrivals:
            arrived.add(failure.failure.target)
        failed = self._snapshot.failed | {failure.failure.target}
        self._snapshot = msgspec.structs.replace(self._snapshot, failed=failed, targets=len(self._config.targets))
        return noted

    def holds(self, target: str) -> Wait | None:
        """What forbids any automatic action on a target now."""
        return hold(self._settings, self._snapshot, target, self._clock.now())

    def brake_is_on(self) -> bool:
        """As it was last written down."""
        brake = self._snapshot.brake
        return brake is not None and brake.released is None

    def braked(self) -> Wait | None:
        """What the brake says now."""
        return brake_wait(self._settings, self._snapshot, self._clock.now())

    def gate(self, run: RunState, now: datetime) -> Hold | None:
        """A `yaoki.runs.Gate`: a run of the policy that has begun begins nothing disruptive any more either."""
        if run.started_by != POLICY:
            return None
        held = hold(self._settings, self._snapshot, str(run.facts.get("target", "")), now)
        return None if held is None else Hold(name=f"guard-{held.guard}", reason=held.reason, until=held.until)

    async def admit(self, failure: FailureDetected) -> Go | Wait:
        """Whether the run of a failure may begin; asking again for a run that was let through counts it once."""
        run_id, now = run_id_of(failure.incident_id, failure.failure_type), self._clock.now()
        runs = (await self.book.target(failure.target)).runs
        if run_id in runs:
            return self.holds(failure.target) or Go()
        verdict = decide_guard(self._settings, self._snapshot, target=failure.target, earlier=runs.values(), now=now)
        if isinstance(verdict, Go):
            await self.book.began(failure.target, run_id, now)
        else:
            metrics.HELD.labels(verdict.guard).inc()
        return verdict

    async def relapse_of(self, failure: FailureDetected) -> str:
        """The branch that helped last time, if the failure is back before the soak time is over; else empty."""
        helped = (await self.book.target(failure.target)).helped.get(failure.failure_type.value)
        if helped is None or helped.run_id == run_id_of(failure.incident_id, failure.failure_type):
            return ""
        soaks_until = helped.at + timedelta(seconds=self._settings.soak)
        return helped.branch if failure.first_failed_at < soaks_until else ""

    async def note_end(self, run: RunState) -> None:
        """Remember what helped: of a run that ended because a fresh probe verified one of its actions."""
        failure = run.facts.get("failure")
        if run.ending not in _REPAIRED or not isinstance(failure, dict) or not run.orders:
            return
        branch = next(reversed(run.orders.values())).intent.branch
        if branch.startswith(_LOOKS):
            return
        ended = run.started_at + timedelta(seconds=run.duration_s)
        helped = Helped(run_id=run.run_id, branch=branch, at=ended)
        await self.book.helped(str(run.facts["target"]), FailureType(failure["failure_type"]), helped)

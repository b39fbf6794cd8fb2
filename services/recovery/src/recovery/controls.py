"""What people ask and order about automation as a whole: pause, resume, take over, its state, its history."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from yaoki.commands.recovery import (
    Acknowledged,
    AcknowledgeFailure,
    AutomationState,
    PauseAutomation,
    PauseView,
    ResumeAutomation,
    RunHistory,
    RunPage,
    ShowAutomation,
)
from yaoki.errors import ErrorCode, RejectedError
from yaoki.events.recovery import AutomationPaused, AutomationResumed, FailureAcknowledged

from recovery.guard_book import PEOPLE
from recovery.guards import Paused
from recovery.intake import check_target

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.commands.recovery import RunView
    from yaoki.config.model import Config
    from yaoki.messaging.ports import EventPublisher

    from recovery.guarding import Guards
    from recovery.ports import RunStarts, RunViews

_ALL = "all"


class ControlHandlers:
    """`api.recovery.pause`, `resume`, `acknowledge`, `automation`, `history`."""

    def __init__(
        self,
        config: Config,
        *,
        guards: Guards,
        starts: RunStarts,
        runs: RunViews,
        publisher: EventPublisher,
        clock: Clock,
    ) -> None:
        self._config = config
        self._guards = guards
        self._starts = starts
        self._runs = runs
        self._publisher = publisher
        self._clock = clock

    async def pause(self, order: PauseAutomation) -> AutomationState:
        """In force for every instance when this answers, within half a second."""
        self._check(order.target)
        now = self._clock.now()
        until = None if order.for_s is None else now + timedelta(seconds=order.for_s)
        await self._guards.book.pause(order.target, Paused(by=order.by, reason=order.reason, since=now, until=until))
        scope = order.target or _ALL
        await self._publisher.publish(AutomationPaused(scope=scope, by=order.by, reason=order.reason, until=until))
        return await self._state()

    async def resume(self, order: ResumeAutomation) -> AutomationState:
        """What has waited begins within half a second."""
        self._check(order.target)
        scope = order.target or _ALL
        if not await self._guards.book.resume(order.target):
            paused = ", ".join(one.target or _ALL for one in (await self._state()).paused)
            raise RejectedError(
                f"automation for {scope} is not paused; paused are: {paused or 'none'}", code=ErrorCode.NOT_FOUND
            )
        await self._publisher.publish(AutomationResumed(scope=scope, by=order.by, reason=order.reason))
        return await self._state()

    async def acknowledge(self, order: AcknowledgeFailure) -> Acknowledged:
        """Note it at every open failure of the target, and say so."""
        self._check(order.target)
        opened = [one for one in await self._guards.book.open_failures() if one.failure.target == order.target]
        if not opened:
            raise RejectedError(
                f"{order.target!r} has no open failure; open are: "
                f"{', '.join((await self._state()).open_failures) or 'none'}",
                code=ErrorCode.NOT_FOUND,
            )
        for one in opened:
            await self._guards.book.tell(one, PEOPLE)
            failure = one.failure
            event = FailureAcknowledged(
                target=failure.target,
                failure_type=failure.failure_type,
                incident_id=failure.incident_id,
                by=order.by,
                comment=order.comment,
            )
            identity = f"acknowledged.{failure.incident_id}.{failure.failure_type.value}"
            await self._publisher.publish(event, event_id=identity, correlation=failure.incident_id)
        kinds = tuple(one.failure.failure_type for one in opened)
        return Acknowledged(target=order.target, failure_types=kinds, by=order.by)

    async def state(self, _request: ShowAutomation) -> AutomationState:
        """As it is now."""
        return await self._state()

    async def history(self, request: RunHistory) -> RunPage:
        """One page, in the order in which the runs began."""
        if request.target:
            check_target(self._config, request.target)
        found: list[RunView] = []
        async for one in self._starts.read(after=request.after, since=request.since):
            if request.until is not None and one.at >= request.until:
                break
            if (request.target and one.target != request.target) or (request.since and one.at < request.since):
                continue
            view = await self._runs.view(one.run_id)
            if view is not None:
                found.append(view)
            if len(found) == request.limit:
                return RunPage(runs=tuple(found), next=one.sequence)
        return RunPage(runs=tuple(found))

    def _check(self, target: str) -> None:
        if target:
            check_target(self._config, target)

    async def _state(self) -> AutomationState:
        await self._guards.refresh()
        snapshot, now = self._guards.snapshot, self._clock.now()
        braked = self._guards.braked()
        return AutomationState(
            paused=tuple(
                PauseView(target=target, by=one.by, reason=one.reason, since=one.since, until=one.until)
                for target, one in sorted(snapshot.paused.items())
                if one.holds(now)
            ),
            flapping=tuple(sorted(snapshot.flapping)),
            open_failures=tuple(sorted(snapshot.failed)),
            brake=braked.reason if braked else "",
        )

"""Takes announcements and cancellations of maintenance, and tells what becomes of each window."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from yaoki import faults, maintenance
from yaoki.commands.slo import WindowList, WindowReply
from yaoki.errors import ConflictError, ErrorCode, RejectedError
from yaoki.events.slo import (
    MaintenanceAnnounced,
    MaintenanceCancelled,
    MaintenanceEnded,
    MaintenanceEvent,
    MaintenanceOverrun,
    MaintenanceStarted,
)
from yaoki.maintenance import MaintenanceWindow, WindowBook, concerns
from yaoki.subjects import token

from health_probe.slo.ledger import Shelf
from health_probe.slo.windows import minutes_left, rules_in_words, violations

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from yaoki.clock import Clock
    from yaoki.commands.slo import AnnounceMaintenance, CancelMaintenance, ListMaintenance
    from yaoki.config import MaintenanceSection
    from yaoki.messaging.ports import EventPublisher, KeyValue
    from yaoki.subjects import Subjects

_KEPT: Final = timedelta(days=400)
_ATTEMPTS: Final = 8


class MaintenanceDesk:
    """`api.slo.announce`, `list` and `cancel`; any instance may answer, compare-and-set keeps them apart.

    Args:
        targets: All configured targets.
    """

    def __init__(
        self,
        *,
        slo: KeyValue,
        publisher: EventPublisher,
        rules: MaintenanceSection,
        targets: Collection[str],
        clock: Clock,
        subjects: Subjects,
    ) -> None:
        self._slo = slo
        self._publisher = publisher
        self._rules = rules
        self._targets = targets
        self._clock = clock
        self._subjects = subjects

    async def announce(self, request: AnnounceMaintenance) -> WindowReply:
        """Accept a window that keeps every rule.

        Raises:
            RejectedError: Names every rule that it breaks, with its limit and what was found.
        """
        window = self._window(request)

        def add(windows: tuple[MaintenanceWindow, ...]) -> tuple[MaintenanceWindow, ...]:
            nonlocal window
            if not request.window_id:
                window = _with_free_id(window, windows)
            known = next((known for known in windows if known.window_id == window.window_id), None)
            if known is not None:
                _expect_same(known, window)
                return windows
            broken = violations(window, windows, self._targets, self._rules)
            if broken:
                sentences = "; ".join(violation.sentence() for violation in broken)
                raise RejectedError(f"window refused, nothing was announced: {sentences}", code=ErrorCode.PRECONDITION)
            return (*windows, window)

        await self._change(add)
        await self.tell(window.window_id)
        return await self._reply(window.window_id)

    async def cancel(self, request: CancelMaintenance) -> WindowReply:
        """Cancel a window before it begins; cancelling it again changes nothing.

        Raises:
            RejectedError: There is no such window, or it has begun.
        """
        now = self._clock.now()

        def strike(windows: tuple[MaintenanceWindow, ...]) -> tuple[MaintenanceWindow, ...]:
            window = _named(windows, request.window_id)
            if window.cancelled_at is not None:
                return windows
            if now >= window.start:
                raise RejectedError(
                    f"rule immutable: a window can be cancelled before it begins; {window.window_id} began at "
                    f"{window.start.isoformat()} and it is {now.isoformat(timespec='seconds')}",
                    code=ErrorCode.PRECONDITION,
                )
            cancelled = msgspec.structs.replace(window, cancelled_at=now, cancelled_by=request.by)
            return tuple(cancelled if known is window else known for known in windows)

        await self._change(strike)
        await self.tell(request.window_id)
        return await self._reply(request.window_id)

    async def list_windows(self, request: ListMaintenance) -> WindowList:
        """Windows that are open or to come, and the rules."""
        if request.target:
            self._expect_targets((request.target,))
        now = self._clock.now()
        found = [
            window
            for window in await self.windows()
            if (request.past or window.end > now)
            and (not request.target or not window.targets or request.target in window.targets)
        ]
        return WindowList(windows=tuple(found), rules=rules_in_words(self._rules))

    async def windows(self) -> tuple[MaintenanceWindow, ...]:
        """All windows as they lie in the record now, by start."""
        return (await self._shelf().read() or WindowBook()).windows

    async def tell(self, window_id: str | None = None, failing: Collection[str] = ()) -> None:
        """Publish the events of windows that are due and not known to be stored.

        Args:
            window_id: Of this one only.
            failing: Targets that are down now.
        """
        for window in await self.windows():
            if window_id is None or window.window_id == window_id:
                for event in self._due(window, failing):
                    await self._publish(window.window_id, event)

    def _due(self, window: MaintenanceWindow, failing: Collection[str]) -> list[MaintenanceEvent]:
        now = self._clock.now()
        said = _said(window)
        due: list[MaintenanceEvent] = [MaintenanceAnnounced(**said, announced_at=window.announced_at)]
        if window.cancelled_at is not None:
            due.append(MaintenanceCancelled(**said, cancelled_at=window.cancelled_at, cancelled_by=window.cancelled_by))
        else:
            still = tuple(sorted(target for target in failing if concerns(window, target)))
            ended = MaintenanceEnded.event_name() in window.told
            due += [MaintenanceStarted(**said)] if now >= window.start else []
            # Before the end is told, so that a crash in between does not swallow it.
            due += [MaintenanceOverrun(**said, overrunning=still)] if now >= window.end and still and not ended else []
            due += [MaintenanceEnded(**said, still_down=still)] if now >= window.end else []
        return [event for event in due if event.event_name() not in window.told]

    async def _publish(self, window_id: str, event: MaintenanceEvent) -> None:
        name = event.event_name()
        await self._publisher.publish(event, event_id=f"{window_id}.{name}")
        faults.point("slo.window-told")

        def mark(windows: tuple[MaintenanceWindow, ...]) -> tuple[MaintenanceWindow, ...]:
            return tuple(
                msgspec.structs.replace(window, told=(*window.told, name))
                if window.window_id == window_id and name not in window.told
                else window
                for window in windows
            )

        await self._change(mark)

    async def _change(
        self, change: Callable[[tuple[MaintenanceWindow, ...]], tuple[MaintenanceWindow, ...]]
    ) -> tuple[MaintenanceWindow, ...]:
        """Write what `change` makes of the record as it lies there, again after a lost compare-and-set."""
        attempt = 0
        while True:
            shelf = self._shelf()
            before = (await shelf.read() or WindowBook()).windows
            after = change(before)
            if after == before:
                return before
            oldest = self._clock.now() - _KEPT
            kept = tuple(sorted((w for w in after if w.end >= oldest), key=lambda w: (w.start, w.window_id)))
            try:
                await shelf.write(WindowBook(windows=kept))
            except ConflictError:
                attempt += 1
                if attempt >= _ATTEMPTS:
                    raise
            else:
                return kept

    def _window(self, request: AnnounceMaintenance) -> MaintenanceWindow:
        for name in ("start", "end"):
            if getattr(request, name).tzinfo is None:
                raise RejectedError(
                    f"{name} {getattr(request, name).isoformat()} has no zone: write for example "
                    f"{getattr(request, name).isoformat()}+09:00"
                )
        self._expect_targets(request.targets)
        start = request.start.astimezone(UTC)
        of = request.targets[0] if len(request.targets) == 1 else "several" if request.targets else "all"
        return MaintenanceWindow(
            window_id=token(request.window_id or f"{start:%Y%m%dt%H%M}-{of}"[:100], "window_id"),
            targets=tuple(sorted(set(request.targets))),
            start=start,
            end=request.end.astimezone(UTC),
            announced_at=self._clock.now(),
            announced_by=request.by,
            reason=request.reason,
        )

    def _expect_targets(self, names: tuple[str, ...]) -> None:
        unknown = [name for name in names if name not in self._targets]
        if unknown:
            raise RejectedError(
                f"target {unknown[0][:64]!r} is not in the configuration; there are: "
                f"{', '.join(sorted(self._targets)) or 'none'}",
                code=ErrorCode.NOT_FOUND,
            )

    async def _reply(self, window_id: str) -> WindowReply:
        windows = await self.windows()
        window = _named(windows, window_id)
        return WindowReply(
            window=window,
            minutes_left=minutes_left(window, windows, self._targets, self._rules),
            watch=f"nats sub '{self._subjects.prefix}.evt.slo.{window.window_id}.>'",
        )

    def _shelf(self) -> Shelf[WindowBook]:
        return Shelf(self._slo, maintenance.KEY, WindowBook)


def _named(windows: tuple[MaintenanceWindow, ...], window_id: str) -> MaintenanceWindow:
    for window in windows:
        if window.window_id == window_id:
            return window
    known = ", ".join(window.window_id for window in windows[-5:]) or "none"
    raise RejectedError(f"no window {window_id[:100]!r}; the newest are: {known}", code=ErrorCode.NOT_FOUND)


def _with_free_id(window: MaintenanceWindow, windows: tuple[MaintenanceWindow, ...]) -> MaintenanceWindow:
    """The same hours may be announced anew after a cancellation; a repeat of what stands keeps its id."""
    cancelled = {known.window_id for known in windows if known.cancelled_at is not None}
    identity, number = window.window_id, 1
    while identity in cancelled:
        number += 1
        identity = f"{window.window_id}-{number}"
    return msgspec.structs.replace(window, window_id=identity)


def _expect_same(known: MaintenanceWindow, asked: MaintenanceWindow) -> None:
    """A repeat is harmless; anything else would be a late edit."""
    if known.cancelled_at is not None:
        raise RejectedError(
            f"rule immutable: window {known.window_id} was cancelled at {known.cancelled_at.isoformat()}; "
            "announce another one under a new window_id",
            code=ErrorCode.PRECONDITION,
        )
    if (known.targets, known.start, known.end) != (asked.targets, asked.start, asked.end):
        raise RejectedError(
            f"rule immutable: window {known.window_id} was announced as {known.start.isoformat()} to "
            f"{known.end.isoformat()} for {', '.join(known.targets) or 'all targets'}; found another time or other "
            "targets. Cancel it before it begins and announce another one under a new window_id",
            code=ErrorCode.PRECONDITION,
        )


def _said(window: MaintenanceWindow) -> dict[str, Any]:
    return {
        "window_id": window.window_id,
        "targets": window.targets,
        "start": window.start,
        "end": window.end,
        "by": window.announced_by,
        "reason": window.reason,
    }

"""What the demonstration shows: events as they happen, then a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text
from yaoki.events.agent import ServerStarted, ServerStopped
from yaoki.events.flags import FlagChanged
from yaoki.events.probe import FailureCleared, FailureDetected, TargetSuspected
from yaoki.events.recovery import DurabilityDegraded, EscalatedToHuman, MemberRejoined, PrimaryPromoted
from yaoki.events.runs import LeaseTaken, RunEvent, RunFinished, RunStarted, StepFinished, StepStarted
from yaoki.plans import OutcomeStatus, Phase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from orders.audit import Audit
    from yaoki.events import Event

    from rescue.measure import Rescue
    from rescue.observer import Seen

_ALARM = "bold red"
_WORK = "cyan"
_GOOD = "bold green"
_QUIET = "dim"
_WARNING = "yellow"


class Screen:
    """Writes to the terminal; colours only where they are understood."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._zero: datetime | None = None

    def say(self, sentence: str) -> None:
        """A line of the story."""
        self._console.print(Text(f"  {sentence}"))

    def headline(self, sentence: str, zero: datetime | None = None) -> None:
        """The beginning of a chapter; times of events are shown relative to `zero`."""
        self._zero = zero or self._zero
        self._console.print()
        self._console.print(Text(sentence, style="bold"))

    def event(self, seen: Seen) -> None:
        """One line for an event that a spectator cares about."""
        described = describe(seen.event)
        if described is None:
            return
        text, style = described
        offset = f"{(seen.envelope.time - self._zero).total_seconds():+7.2f} s" if self._zero else " " * 9
        self._console.print(Text.assemble((f"{offset}  ", _QUIET), (text, style)), soft_wrap=True)

    def report(self, rescues: Sequence[Rescue], result: Audit) -> None:
        """The table at the end."""
        table = Table(title="What the application lived through", title_justify="left")
        for column in ("killed", "detected", "recovered", "no writes for"):
            table.add_column(column, no_wrap=True)
        for rescue in rescues:
            table.add_row(
                rescue.victim,
                f"{rescue.detection_s:.2f} s",
                f"{rescue.recovery_s:.2f} s",
                f"{rescue.unavailability_s:.2f} s",
            )
        self._console.print()
        self._console.print(table)
        for rescue in rescues:
            self._console.print(Text(f"{rescue.victim}: {', '.join(rescue.attempts)}"))
        style = _ALARM if result.lost else _GOOD
        self._console.print(
            Text(
                f"{result.acknowledged} writes acknowledged, {result.stored} stored, {len(result.lost)} lost",
                style=style,
            )
        )


def describe(event: Event) -> tuple[str, str] | None:
    """Text and style of an event; None for what would only be noise on a screen."""
    described: tuple[str, str] | None = None
    match event:
        case TargetSuspected():
            cause = event.evidence[-1].detail if event.evidence else "no answer"
            described = f"{event.target} is suspect: {cause}", _WARNING
        case FailureDetected():
            described = f"{event.target} has failed ({event.failure_type}), {event.failures} probes in a row", _ALARM
        case FailureCleared():
            described = f"{event.target} is well again after {event.downtime_s:.1f} s", _GOOD
        case EscalatedToHuman():
            described = f"A PERSON IS NEEDED: {event.reason}", _ALARM
        case RunEvent():
            described = _describe_run(event)
        case _:
            described = _describe_server(event)
    return described


def _describe_run(event: RunEvent) -> tuple[str, str] | None:
    described: tuple[str, str] | None = None
    match event:
        case RunStarted():
            described = f"recovery begins: {' > '.join(branch.name for branch in event.plan.branches)}", "bold cyan"
        case LeaseTaken():
            described = f"  led by {event.instance}", _QUIET
        case StepStarted() if event.phase is not Phase.VERIFY:
            described = f"  {event.action} by {event.worker}", _WORK
        case StepFinished() if event.status not in (OutcomeStatus.SUCCEEDED, OutcomeStatus.RUNNING):
            error = event.error.partition(":")[0] if event.status is OutcomeStatus.SKIPPED else event.error
            why = f" ({error})" if error else ""
            described = f"    {event.step} {event.status}{why}", _WARNING
        case RunFinished():
            good = event.ending.startswith("completed")
            described = f"recovery {event.ending} in {event.duration_s:.2f} s", _GOOD if good else _ALARM
    return described


def _describe_server(event: Event) -> tuple[str, str] | None:
    described: tuple[str, str] | None = None
    match event:
        case PrimaryPromoted():
            described = f"{event.member} is the primary now (timeline {event.timeline})", _GOOD
        case DurabilityDegraded():
            described = f"{event.member} acknowledges with {event.present} of {event.wanted} standbys", _WARNING
        case MemberRejoined():
            described = f"{event.member} follows the primary again ({event.method})", _GOOD
        case ServerStopped():
            described = f"agent {event.agent}: its server is stopped, proven ({event.reason})", _WORK
        case ServerStarted():
            described = f"agent {event.agent}: its server runs as {event.role}", _WORK
        case FlagChanged():
            described = f"  flag {event.flag} changed: {event.reason or event.by}", _QUIET
    return described

"""What a window of events says about the present: failures that are open, and signs beside them. Pure."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING

import msgspec

from yaoki.events.backup import BackupCompleted, BackupFailed, BackupVerificationFailed, BackupVerified
from yaoki.events.base import Event  # noqa: TC001 - as above
from yaoki.events.probe import FailureCleared, FailureDetected, VantageAgreement, VantageDisagreement
from yaoki.events.recovery import EscalatedToHuman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it stands in the stream.

    Attributes:
        sequence: Its place there; the same event read twice has the same one.
        at: When it was stored, UTC.
    """

    sequence: int
    at: datetime
    event: Event


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """A target of the installation.

    Attributes:
        name: Under `targets`.
        kind: Probe kind, e.g. `postgres`.
        region: Where it runs.
    """

    name: str
    kind: str
    region: str


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """What is so at the end of the window, each by the event that last said so, in the order of the stream.

    Attributes:
        failures: `FailureDetected` that nothing has cleared.
        disagreements: `VantageDisagreement` that nothing has ended.
        escalations: Of recovery, about failures that are open still.
        lost_backups: `BackupFailed` with no `BackupCompleted` of the target after it.
        broken_backups: Conclusive `BackupVerificationFailed` with no `BackupVerified` of the target after it.
    """

    failures: tuple[Observed, ...] = ()
    disagreements: tuple[Observed, ...] = ()
    escalations: tuple[Observed, ...] = ()
    lost_backups: tuple[Observed, ...] = ()
    broken_backups: tuple[Observed, ...] = ()


def read_signs(window: Iterable[Observed]) -> Signs:
    """Fold a window; in whatever order and however often its events are given, the stream's order counts."""
    in_order = sorted({one.sequence: one for one in window}.values(), key=lambda one: one.sequence)
    failures = _open(in_order, FailureDetected, FailureCleared, _incident)
    still = {_incident(one.event) for one in failures}
    escalations = _open(in_order, EscalatedToHuman, FailureCleared, _incident)
    return Signs(
        failures=failures,
        disagreements=_open(in_order, VantageDisagreement, VantageAgreement, _incident),
        escalations=tuple(one for one in escalations if _incident(one.event) in still),
        lost_backups=_open(in_order, BackupFailed, BackupCompleted, _target),
        broken_backups=tuple(
            one
            for one in _open(in_order, BackupVerificationFailed, BackupVerified, _target)
            if isinstance(one.event, BackupVerificationFailed) and one.event.conclusive
        ),
    )


def _open(
    in_order: list[Observed], begins: type[Event], ends: type[Event], key: Callable[[Event], object]
) -> tuple[Observed, ...]:
    """The newest event of each key that began and has not ended."""
    found: dict[object, Observed] = {}
    for one in in_order:
        if isinstance(one.event, begins):
            found[key(one.event)] = one
        elif isinstance(one.event, ends):
            found.pop(key(one.event), None)
    return tuple(sorted(found.values(), key=lambda one: one.sequence))


def _incident(event: Event) -> object:
    return (_target(event), getattr(event, "failure_type", ""), getattr(event, "incident_id", ""))


def _target(event: Event) -> str:
    return str(getattr(event, "target", ""))

"""When automation keeps its hands off although there is something that it could do. Pure.

Repairs can make an outage worse: by acting again and again, by acting everywhere at once, by acting on what goes up and
down. A failure that is kept waiting here is looked at again all the time, and people are told why it waits.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from yaoki.config.applications import GuardSettings

HOUR = timedelta(hours=1)
_FEW_TARGETS = 10
"""Of fewer targets than this a share says nothing: one of two is half of all."""


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """A person has paused automation.

    Attributes:
        until: When it goes on by itself, UTC; None: when somebody resumes it.
    """

    by: str
    reason: str = ""
    since: datetime
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it is still in force."""
        return self.until is None or now < self.until


class Brake(msgspec.Struct, frozen=True, kw_only=True):
    """Too many targets have failed at once.

    Attributes:
        released: Since when they are fewer again, UTC; None while they are too many.
        told: People know.
    """

    since: datetime
    released: datetime | None = None
    told: bool = False


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that the guards look at.

    Attributes:
        failed: Targets with an open failure.
        targets: How many targets there are.
        brake: As it stands; None when it was never needed.
        flapping: Targets that go up and down.
        paused: Pauses in force or over, by target; the empty name stands for all.
    """

    failed: frozenset[str] = frozenset()
    targets: int = 0
    brake: Brake | None = None
    flapping: frozenset[str] = frozenset()
    paused: dict[str, Paused] = {}


class Go(msgspec.Struct, frozen=True):
    """The run may begin."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Not now.

    Attributes:
        guard: `paused`, `flapping`, `brake`, `limit` or `pause`.
        reason: One sentence for people.
        until: When it can go on at the earliest, UTC; None when nobody knows.
    """

    guard: str
    reason: str
    until: datetime | None = None

    @property
    def calls_people(self) -> bool:
        """Automation will not help here for longer than a moment, and nobody has asked it to stay away."""
        return self.guard in {"brake", "limit", "flapping"}


def too_many(settings: GuardSettings, snapshot: Snapshot) -> bool:
    """Whether so many targets have failed at once that the cause is none of theirs."""
    failed = len(snapshot.failed)
    share = snapshot.targets >= _FEW_TARGETS and failed * 100 >= settings.brake_percent * snapshot.targets
    return failed >= settings.brake_targets or share


def next_brake(settings: GuardSettings, snapshot: Snapshot, now: datetime) -> Brake | None:
    """The brake as it should stand now; unchanged, and therefore equal, where nothing happened."""
    brake = snapshot.brake
    if too_many(settings, snapshot):
        return Brake(since=now) if brake is None or brake.released is not None else brake
    if brake is not None and brake.released is None:
        return msgspec.structs.replace(brake, released=now)
    return brake


def hold(settings: GuardSettings, snapshot: Snapshot, target: str, now: datetime) -> Wait | None:
    """What forbids any automatic action on the target, also within a run that has begun."""
    for name in ("", target):
        pause = snapshot.paused.get(name)
        if pause is not None and pause.holds(now):
            what = f"automation for {name}" if name else "automation"
            why = f": {pause.reason}" if pause.reason else ""
            return Wait(guard="paused", reason=f"{what} was paused by {pause.by}{why}", until=pause.until)
    if target in snapshot.flapping:
        return Wait(guard="flapping", reason=f"{target} goes up and down; nothing is done until it is steady")
    return brake_wait(settings, snapshot, now)


def brake_wait(settings: GuardSettings, snapshot: Snapshot, now: datetime) -> Wait | None:
    """What the brake says; None while it is off."""
    if not _braked(settings, snapshot, now):
        return None
    reason = (
        f"{len(snapshot.failed)} of {snapshot.targets} targets have failed at once: automation stands still until they "
        "are fewer; find their common cause"
    )
    return Wait(guard="brake", reason=reason)


def decide_guard(
    settings: GuardSettings, snapshot: Snapshot, *, target: str, earlier: Iterable[datetime], now: datetime
) -> Go | Wait:
    """Whether an automatic run on the target may begin.

    Invariants: within any hour at most `runs_per_hour` runs begin for one target; between two of them lies at least the
    pause, which doubles with each; none begins while the brake holds, the target flaps, or a person has paused it.

    Args:
        settings: The limits.
        snapshot: Of everything else.
        target: The failed one.
        earlier: When other automatic runs for it began.
        now: UTC.
    """
    held = hold(settings, snapshot, target, now)
    if held is not None:
        return held
    recent = sorted(at for at in earlier if now - at < HOUR)
    if len(recent) >= settings.runs_per_hour:
        until = recent[-settings.runs_per_hour] + HOUR
        return Wait(
            guard="limit",
            reason=f"{len(recent)} automatic runs for {target} within an hour have not lasted; at most "
            f"{settings.runs_per_hour} are allowed",
            until=until,
        )
    if recent:
        pause_s = min(settings.longest_pause, settings.pause * 2 ** (len(recent) - 1))
        until = recent[-1] + timedelta(seconds=pause_s)
        if now < until:
            reason = f"{target} was repaired {len(recent)} times within the hour; the next run waits for {pause_s:g} s"
            return Wait(guard="pause", reason=reason, until=until)
    return Go()


def _braked(settings: GuardSettings, snapshot: Snapshot, now: datetime) -> bool:
    if too_many(settings, snapshot):
        return True
    released = snapshot.brake.released if snapshot.brake else None
    held_on = snapshot.brake is not None and released is None
    return held_on or (released is not None and now < released + timedelta(seconds=settings.brake_for))

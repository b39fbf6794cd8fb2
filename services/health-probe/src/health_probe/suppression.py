"""Whether a failure is told, waits, or is explained by the failure of what the target depends on. Pure.

Asked only before a failure is *raised*. A clearing never asks: whoever was told of a failure is told of its end,
whatever state anything else is in. Probing goes on and views are written all the time.

    raise     no dependency can explain it: each one was proven well after the target began to fail
    hold      a dependency may turn out to be the cause: suspect, unknown, not looked at since the target began to
              fail, or well again for so short a time that the target had no chance to recover with it
    suppress  a dependency has failed: one cause, one alarm

Dependencies are transitive: whoever is behind a failed one has failed for the same reason, told or not.

Safety invariants, whatever happens:

- nothing is raised while a dependency has failed;
- once none has failed any more, a target that goes on failing is raised at the latest `hold_s` later, whatever
  clocks and views say: what nobody can see cannot hide a failure for ever;
- after a dependency has recovered, only results newer than its recovery raise anything within that time;
- of targets that fail together at least one is raised: nobody is explained by something that it explains.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from health_probe.hysteresis import Thresholds


class Standing(StrEnum):
    """What is known of a dependency now, over all vantages. A view that is too old is `unknown`."""

    WELL = "well"
    SUSPECT = "suspect"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Ruling(StrEnum):
    """What happens to a failure that has been established and not been told."""

    RAISE = "raise"
    HOLD = "hold"
    SUPPRESS = "suppress"


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """A target that has failed by its own results.

    Attributes:
        first_failed_at: When the first of its failing probes ended, UTC.
        last_failed_at: When the newest one ended, UTC.
    """

    first_failed_at: datetime
    last_failed_at: datetime


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """One target that the failing one depends on, directly or through others.

    Attributes:
        since: When it entered its standing, UTC.
        checked_at: When the probe began that the newest result behind its standing came of, UTC: it proves that moment.
    """

    name: str
    standing: Standing
    since: datetime
    checked_at: datetime


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a failure waits for its explanation.

    Attributes:
        settle_s: What a target has to recover in, after its dependency has.
        hold_s: Longest wait in all; longer than `settle_s`.
    """

    settle_s: float
    hold_s: float


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, and what to hand in at the next question about the same incident.

    Attributes:
        because: Names of the dependencies that hold or suppress; empty when raised.
        held_since: Begin of the present wait on the caller's monotonic clock, seconds; None while not waiting.
    """

    ruling: Ruling
    because: tuple[str, ...] = ()
    held_since: float | None = None


def rule(
    failing: Failing,
    dependencies: Sequence[Dependency],
    patience: Patience,
    *,
    now: float,
    held_since: float | None,
) -> Decision:
    """Rule on a failure that has not been told; ask again on every new result of the target or of a dependency.

    Args:
        failing: By the target's own results.
        dependencies: All of `ancestors`; leaving one out declares it innocent.
        patience: Of this target, see `patience_for`.
        now: On a clock that does not jump, seconds.
        held_since: `Decision.held_since` of the question before; None at the first.
    """
    if failed := _names(one for one in dependencies if one.standing is Standing.FAILED):
        return Decision(ruling=Ruling.SUPPRESS, because=failed)
    suspects = _names(one for one in dependencies if not _innocent(one, failing, patience.settle_s))
    since = now if held_since is None else held_since
    if not suspects or now - since >= patience.hold_s:
        return Decision(ruling=Ruling.RAISE)
    return Decision(ruling=Ruling.HOLD, because=suspects, held_since=since)


def patience_for(child: Thresholds, dependencies: Iterable[tuple[Thresholds, float]]) -> Patience:
    """How long a failure waits.

    Args:
        child: Thresholds of the target that fails.
        dependencies: Thresholds and timeout of each of its `ancestors`.
    """
    settle = child.unhealthy_after * child.suspect_interval_s
    longest = max((_detection_s(thresholds, timeout_s) for thresholds, timeout_s in dependencies), default=0.0)
    return Patience(settle_s=settle, hold_s=settle + longest)


def ancestors(target: str, depends_on: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """All that `target` depends on, directly or through others, without those that depend on it themselves."""
    return frozenset(one for one in _reachable(target, depends_on) if target not in _reachable(one, depends_on))


def _reachable(start: str, depends_on: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = deque(depends_on.get(start, ()))
    while waiting:
        one = waiting.popleft()
        if one not in found:
            found.add(one)
            waiting.extend(depends_on.get(one, ()))
    return found


def _innocent(dependency: Dependency, failing: Failing, settle_s: float) -> bool:
    if dependency.standing is not Standing.WELL or dependency.checked_at < failing.first_failed_at:
        return False
    if dependency.since <= failing.first_failed_at:
        return True
    return failing.last_failed_at >= dependency.since + timedelta(seconds=settle_s)


def _detection_s(thresholds: Thresholds, timeout_s: float) -> float:
    """The longest that a failure takes from its begin to its verdict."""
    return thresholds.interval_s + thresholds.unhealthy_after * (thresholds.suspect_interval_s + timeout_s)


def _names(dependencies: Iterable[Dependency]) -> tuple[str, ...]:
    return tuple(sorted(one.name for one in dependencies))

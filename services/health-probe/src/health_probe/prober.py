"""Keeps the state of every target that this prober watches, and hands on each new view."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Protocol

from yaoki.errors import ErrorCode, RejectedError

from health_probe import degradation
from health_probe.attempt import Deadline
from health_probe.degradation import Degradation
from health_probe.hysteresis import advance, initial, next_interval
from health_probe.observation import extended, longest_hole, observation_of
from health_probe.records import restore, to_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from yaoki.clock import Clock
    from yaoki.events.probe import ProbeResult

    from health_probe.hysteresis import TargetState
    from health_probe.observation import Observation
    from health_probe.records import HealthRecord
    from health_probe.targets import MonitoredTarget

_SUGGESTIONS: Final = 3


class Outlet(Protocol):
    """Where views go. Takes them at once and delivers them in its own time."""

    def report(self, record: HealthRecord) -> None:
        """Take the newest view of a target."""
        ...

    def ran_late(self, target: str, seconds: float) -> None:
        """A probe began this long after its time."""
        ...


class Watched:
    """What is remembered of one target between two results."""

    def __init__(self, state: TargetState, seen: Observation | None, degraded: Degradation) -> None:
        self.state = state
        self.seen = seen
        self.degraded = degraded


class Prober:
    """See `scheduler.Observer`; all in memory and synchronous.

    Args:
        targets: All that can be probed from here; those that are watched are taken up with `take`.
        me: This process, as it stands in its views.
    """

    def __init__(self, *, targets: Iterable[MonitoredTarget], me: str, outlet: Outlet, clock: Clock) -> None:
        self.targets: Final = {target.name: target for target in targets}
        self._me = me
        self._outlet = outlet
        self._clock = clock
        self._watched: dict[str, Watched] = {}

    @property
    def watched(self) -> list[str]:
        """Names of the targets that are watched now, sorted."""
        return sorted(self._watched)

    def take(self, target: str, stored: HealthRecord | None) -> None:
        """Watch a target from now on, or anew, going on from the last view of its vantage."""
        monitored = self.require(target)
        now = self._clock.now()
        state = (
            initial(target, monitored.identity.vantage, now)
            if stored is None
            else restore(stored, monitored.thresholds, now)
        )
        degraded = stored.degradation if stored else Degradation()
        self._watched[target] = Watched(state, observation_of(stored), degraded)

    def release(self, target: str) -> None:
        """Watch a target no longer; results that are still under way are dropped."""
        self._watched.pop(target, None)

    def observe(self, target: str, result: ProbeResult) -> float:
        """See `Observer.observe`."""
        monitored = self.targets[target]
        watched = self._watched.get(target)
        if watched is None:
            return monitored.thresholds.interval_s
        watched.state, decisions = advance(watched.state, result, monitored.thresholds)
        hole = longest_hole(monitored.thresholds, monitored.timeout_s)
        watched.seen = extended(watched.seen, result, hole)
        watched.degraded = degradation.extended(watched.degraded, result, monitored.thresholds)
        record = to_record(
            watched.state,
            result,
            monitored.identity,
            prober=self._me,
            evidence=decisions[-1].incident.evidence if decisions else (),
            degradation=watched.degraded,
            observed_since=watched.seen.since if watched.seen else None,
        )
        self._outlet.report(record)
        return next_interval(watched.state, monitored.thresholds)

    def ran_late(self, target: str, seconds: float) -> None:
        """See `Observer.ran_late`."""
        self._outlet.ran_late(target, seconds)

    async def probe_now(self, target: str, timeout_s: float | None = None) -> ProbeResult:
        """A fresh probe beside the scheduled ones.

        It does not count towards the state: whoever asks often, or asks in the middle of a repair, must not
        be able to raise a failure or to clear one.

        Raises:
            RejectedError: No such target; names the closest ones.
        """
        monitored = self.require(target)
        limit = monitored.timeout_s if timeout_s is None else timeout_s
        return await monitored.probe.run(Deadline.after(limit))

    def require(self, target: str) -> MonitoredTarget:
        """The target of that name.

        Raises:
            RejectedError: With code `not_found` and the closest names.
        """
        if target in self.targets:
            return self.targets[target]
        close = get_close_matches(target, self.targets, n=_SUGGESTIONS, cutoff=0.4) or sorted(self.targets)
        names = ", ".join(close[:_SUGGESTIONS]) or "none are configured"
        raise RejectedError(
            f"target {target[:64]!r} is not in the configuration; closest names: {names}",
            code=ErrorCode.NOT_FOUND,
        )

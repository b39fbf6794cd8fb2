"""Has what a failing target depends on probed at once, so that the cause is known before the effect is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.events.probe import ProbeStatus

from health_probe.suppression import ancestors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from yaoki.events.probe import ProbeResult

    from health_probe.scheduler import Observer


class CausesFirst:
    """See `scheduler.Observer`.

    Without it a failure would wait for the next beat of what it depends on (see `suppression`).

    Args:
        observer: Takes everything in.
        depends_on: Of each configured target.
    """

    def __init__(self, observer: Observer, depends_on: Mapping[str, Iterable[str]]) -> None:
        self._observer = observer
        self._causes = {target: sorted(ancestors(target, depends_on)) for target, named in depends_on.items() if named}
        self._hurry: Callable[[str], None] = lambda _target: None

    def send_to(self, hurry: Callable[[str], None]) -> None:
        """What has a target probed at once."""
        self._hurry = hurry

    def observe(self, target: str, result: ProbeResult) -> float:
        """See `Observer.observe`."""
        interval = self._observer.observe(target, result)
        if result.status is ProbeStatus.UNHEALTHY:
            for cause in self._causes.get(target, ()):
                self._hurry(cause)
        return interval

    def ran_late(self, target: str, seconds: float) -> None:
        """See `Observer.ran_late`."""
        self._observer.ran_late(target, seconds)

"""What the kinds `cpu`, `memory` and `disk` share: a percentage whose mean over a window must not pass a limit."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated

import msgspec
from typing_extensions import override
from yaoki.clock import Clock
from yaoki.config import Target, format_duration
from yaoki.config.findings import Context
from yaoki.config.findings import Finding as Mistake
from yaoki.config.forms import PositiveDuration
from yaoki.events.probe import ErrorClass, ProbeStatus

from health_probe.attempt import Facts, Finding, Phases, ProbeFailedError
from health_probe.windows import Sample, SampleBuffer, Window

Percent = Annotated[float, msgspec.Meta(gt=0, le=100)]


class UsageTarget(Target, frozen=True, kw_only=True, tag=None):
    """What every target with a limit over a window has.

    Attributes:
        limit: Percent; a mean above it is a failure.
        window: Over which the mean is taken.
        unhealthy_after: Failures in a row that make it failed; one, because the window has waited already.
    """

    limit: Percent = 90.0
    window: PositiveDuration = 300.0
    unhealthy_after: Annotated[int, msgspec.Meta(ge=1)] | None = 1

    @override
    def mistakes(self, path: str, context: Context) -> Iterator[Mistake]:
        """See `Target.mistakes`."""
        interval = self.interval or context.config.probe.defaults.interval
        if 2 * interval > self.window:
            yield Mistake(
                path=f"{path}.window",
                found=format_duration(self.window),
                expected=f"at least twice the interval, {format_duration(interval)}",
                hint="a mean of so few samples says nothing",
                also=(f"{path}.interval", "probe.defaults.interval"),
            )


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement.

    Attributes:
        percent: Since the measurement before, or now.
        facts: What to report beside it.
    """

    percent: float
    facts: Facts = {}


class UsageCheck:
    """See `Check`. Unlike other checks it remembers: the samples of its window.

    Args:
        what: Begins the sentence, e.g. `CPU`.
        measure: Takes one measurement.
        limit: Percent.
        window_s: Over which the mean is taken.
        clock: Places the samples in time.
    """

    def __init__(
        self, *, what: str, measure: Callable[[Phases], Awaitable[Usage]], limit: float, window_s: float, clock: Clock
    ) -> None:
        self._what = what
        self._measure = measure
        self._limit = limit
        self._samples = SampleBuffer(window_s)
        self._clock = clock

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: percent, mean_percent, covered_s and the measurement's own."""
        usage = await self._measure(phases)
        phases.name = "verdict"
        window = self._samples.add(Sample(self._clock.monotonic(), usage.percent))
        return judge(self._what, usage, window, self._limit)


def judge(what: str, usage: Usage, window: Window, limit: float) -> Finding:
    """Decide what a measurement and its window say.

    Raises:
        ProbeFailedError: Class `capacity`: the mean over a complete window is above the limit; `local`, which is no
            verdict: the window is not complete.
    """
    mean = usage.percent if window.mean is None else window.mean
    facts: Facts = {
        "percent": round(usage.percent, 2),
        "mean_percent": round(mean, 2),
        "covered_s": round(window.covered_s, 1),
        **usage.facts,
    }
    if window.exceeds(limit):
        length = format_duration(window.length_s)
        sentence = f"{what} {mean:.1f} % used on average over {length}, at most {limit:g} % allowed"
        raise ProbeFailedError(ErrorClass.CAPACITY, sentence, facts)
    if not window.complete and mean > limit:
        # Neither well nor failed: a prober that has just started must not clear what it found before.
        sentence = f"{what} {mean:.1f} % used, more than {limit:g} %, but only {window.covered_s:.0f} s are known yet"
        raise ProbeFailedError(ErrorClass.LOCAL, sentence, facts)
    if usage.percent > limit:
        return Finding(
            status=ProbeStatus.DEGRADED,
            error_class=ErrorClass.CAPACITY,
            detail=f"{what} {usage.percent:.1f} % used now, more than {limit:g} %, but not yet on average",
            facts=facts,
        )
    return Finding(facts=facts)

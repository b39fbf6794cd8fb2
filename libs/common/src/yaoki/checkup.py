"""One look at every configured target: what `python -m health_probe --role check` prints and `yaoki check` shows."""

from enum import IntEnum

import msgspec

from yaoki.events.probe import ErrorClass, ProbeStatus


class CheckExit(IntEnum):
    """How a check ends, for scripts."""

    WELL = 0
    """Every target works: healthy, or degraded."""

    UNHEALTHY = 1
    """At least one target does not work."""

    CONFIGURATION = 2
    """The configuration is wrong, and nothing was probed; or secrets are missing, and the others were."""

    UNKNOWN = 3
    """None is unhealthy, but of at least one nobody can say. Unknown is not healthy."""


class CheckedTarget(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at one target has shown.

    Attributes:
        kind: Probe kind.
        scope: `internal` or `external`.
        response_ms: None when it was not probed.
        phase: In which the probe ended.
        wrong: What is wrong, in one sentence; empty when it is healthy.
        next: What to do about it, in one sentence; empty when there is nothing to do.
    """

    target: str
    kind: str
    scope: str
    status: ProbeStatus
    response_ms: float | None = None
    error_class: ErrorClass | None = None
    phase: str = ""
    wrong: str = ""
    next: str = ""


class Checkup(msgspec.Struct, frozen=True, kw_only=True):
    """One look at every target, in the order of the configuration.

    Attributes:
        missing_secrets: Places in the configuration whose secret this environment lacks.
    """

    targets: tuple[CheckedTarget, ...]
    missing_secrets: tuple[str, ...] = ()

    def exit_status(self) -> CheckExit:
        """The worst of all targets; missing secrets come first, because they say nothing about the targets."""
        seen = {checked.status for checked in self.targets}
        if self.missing_secrets:
            return CheckExit.CONFIGURATION
        if ProbeStatus.UNHEALTHY in seen:
            return CheckExit.UNHEALTHY
        return CheckExit.UNKNOWN if ProbeStatus.UNKNOWN in seen else CheckExit.WELL

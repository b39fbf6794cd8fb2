"""A file system has room left while the mean over a window is below a limit."""

from yaoki.config.forms import AbsolutePath
from yaoki.events.probe import FailureType

from health_probe.adapters.children import ChildRunner
from health_probe.adapters.files import look_at_space
from health_probe.attempt import Phases
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.probes.usage import Percent, Usage, UsageCheck, UsageTarget
from health_probe.targets import Component


class DiskTarget(UsageTarget, frozen=True, kw_only=True, tag="disk"):
    """Space and inodes of a file system of the prober's own host, whichever is scarcer.

    Attributes:
        path: Any directory on it.
        limit: Percent; a mean above it is a failure. What is reserved for root counts as used.
    """

    failures = frozenset({FailureType.DISK_FULL})

    path: AbsolutePath = "/"
    limit: Percent = 95.0


class Disk:
    """Measures one file system, from a distance: it may hang."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._children = ChildRunner()

    async def measure(self, phases: Phases) -> Usage:
        """Space in use now. Facts: free_bytes, inodes_percent."""
        space = await look_at_space(self._children, phases, self._path)
        return Usage(
            percent=max(space.used_percent, space.inodes_used_percent),
            facts={"free_bytes": space.free_bytes, "inodes_percent": round(space.inodes_used_percent, 2)},
        )


def _build(_name: str, target: DiskTarget, surroundings: Surroundings) -> Check:
    return UsageCheck(
        what=f"disk {target.path}",
        measure=Disk(target.path).measure,
        limit=target.limit,
        window_s=target.window,
        clock=surroundings.clock,
    )


def _failure_type(_target: DiskTarget) -> FailureType:
    return FailureType.DISK_FULL


KIND = ProbeKind(target=DiskTarget, component=Component.HOST, build=_build, failure_type=_failure_type, remembers=True)

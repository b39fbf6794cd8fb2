"""A file system is well when it takes a file, keeps it through fsync, gives it back, deletes it and has room."""

from yaoki.config import Target
from yaoki.config.forms import AbsolutePath, Size
from yaoki.events.probe import ErrorClass, FailureType

from health_probe.adapters.children import ChildRunner
from health_probe.adapters.files import Space, try_writing
from health_probe.attempt import Facts, Finding, Phases, ProbeFailedError
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.probes.usage import Percent
from health_probe.targets import Component


class FilesystemTarget(Target, frozen=True, kw_only=True, tag="filesystem"):
    """A directory in which the prober may write.

    Attributes:
        directory: Where the file of a few kilobytes is made; it never outlives the probe.
        min_free: Less room than this for ordinary users is a failure.
        max_used: Percent; more is a failure, by space or by inodes.
    """

    failures = frozenset({FailureType.STORAGE})

    directory: AbsolutePath
    min_free: Size = 0
    max_used: Percent = 95.0


class FilesystemCheck:
    """See `Check`."""

    def __init__(self, *, directory: str, min_free_bytes: int, max_used_percent: float) -> None:
        self._directory = directory
        self._min_free_bytes = min_free_bytes
        self._max_used_percent = max_used_percent
        self._children = ChildRunner()

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: free_bytes, used_percent, inodes_percent."""
        space = await try_writing(self._children, phases, self._directory)
        phases.name = "verdict"
        return self._judge(space)

    def _judge(self, space: Space) -> Finding:
        facts: Facts = {
            "free_bytes": space.free_bytes,
            "used_percent": round(space.used_percent, 2),
            "inodes_percent": round(space.inodes_used_percent, 2),
        }
        limits = (
            (space.free_bytes < self._min_free_bytes, f"{space.free_bytes} bytes free of {self._min_free_bytes}"),
            (space.used_percent > self._max_used_percent, f"{space.used_percent:.1f} % of the space used"),
            (space.inodes_used_percent > self._max_used_percent, f"{space.inodes_used_percent:.1f} % of inodes used"),
        )
        passed = [sentence for is_passed, sentence in limits if is_passed]
        if passed:
            raise ProbeFailedError(ErrorClass.CAPACITY, f"{self._directory}: {', '.join(passed)}", facts)
        return Finding(facts=facts)


def _build(_name: str, target: FilesystemTarget, _surroundings: Surroundings) -> Check:
    return FilesystemCheck(directory=target.directory, min_free_bytes=target.min_free, max_used_percent=target.max_used)


def _failure_type(_target: FilesystemTarget) -> FailureType:
    return FailureType.STORAGE


KIND = ProbeKind(
    target=FilesystemTarget, component=Component.HOST, build=_build, failure_type=_failure_type, remembers=True
)

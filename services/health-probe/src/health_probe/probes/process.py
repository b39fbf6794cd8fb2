"""A program is well while as many of its processes run as should, old enough and not started again and again."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import psutil
from typing_extensions import override
from yaoki.clock import Clock
from yaoki.config import Target, format_duration
from yaoki.config.findings import Context
from yaoki.config.findings import Finding as Mistake
from yaoki.config.forms import AbsolutePath, Duration, PositiveDuration
from yaoki.events.probe import ErrorClass, FailureType, ProbeStatus

from health_probe.attempt import Facts, Finding, Phases, ProbeFailedError
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.targets import Component

Count = Annotated[int, msgspec.Meta(ge=0)]

_WAYS: Final = ("name", "pidfile", "command_pattern")


class ProcessTarget(Target, frozen=True, kw_only=True, tag="process"):
    """Processes of the prober's own host, found in exactly one of three ways.

    Attributes:
        name: The program's name, as `ps -o comm` shows it.
        pidfile: A file with the process's number; a file that is left over from a dead process finds none.
        command_pattern: Regular expression that matches somewhere in the arguments, joined by blanks.
        min_count: Fewer is a failure.
        max_count: More is a failure; no limit when left out.
        min_age: A process younger than this is degraded: it may be in a loop of starts.
        max_restarts: More new processes than this within `restart_window` is a failure.
        restart_window: For `max_restarts`.
        failure: What its failure is called; chooses the recovery chain.
    """

    name: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    pidfile: AbsolutePath | None = None
    command_pattern: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    min_count: Count = 1
    max_count: Count | None = None
    min_age: Duration = 0.0
    max_restarts: Count | None = None
    restart_window: PositiveDuration = 300.0
    failure: FailureType = FailureType.ERROR_RATE

    @override
    def mistakes(self, path: str, context: Context) -> Iterator[Mistake]:
        """See `Target.mistakes`."""
        ways = [way for way in _WAYS if getattr(self, way) is not None]
        if len(ways) != 1:
            found = " and ".join(ways) or "none of them"
            also = tuple(f"{path}.{way}" for way in _WAYS)
            yield Mistake(path=path, found=found, expected=f"one of {', '.join(_WAYS)}", also=also)
        if self.max_count is not None and self.max_count < self.min_count:
            expected = f"at least min_count, {self.min_count}"
            yield Mistake(path=f"{path}.max_count", found=str(self.max_count), expected=expected)
        try:
            re.compile(self.command_pattern or "")
        except re.error as exc:
            where = f"{path}.command_pattern"
            yield Mistake(path=where, found=f"{exc.msg} at {exc.pos}", expected="a regular expression")


class Seen(msgspec.Struct, frozen=True, order=True):
    """One process; the number alone is given away again.

    Attributes:
        started: Unix seconds.
    """

    pid: int
    started: float


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Which processes there have been.

    Attributes:
        seen: At the last look; None before the first.
        restarts: When new ones appeared, on the prober's monotonic clock.
    """

    seen: frozenset[Seen] | None = None
    restarts: tuple[float, ...] = ()


def remember(history: History, seen: frozenset[Seen], *, now: float, window_s: float) -> History:
    """The history after a look: every process that was not there before is one (re)start, but for the first look."""
    new = len(seen - history.seen) if history.seen is not None else 0
    restarts = tuple(at for at in (*history.restarts, *([now] * new)) if at > now - window_s)
    return History(seen=seen, restarts=restarts)


class ProcessCheck:
    """See `Check`. It remembers the processes that it saw, to notice those that are started again.

    Args:
        find: Returns what runs now; blocking, for a fraction of a second.
        target: What is expected.
        clock: For ages and restarts.
    """

    def __init__(self, *, find: Callable[[], frozenset[Seen]], target: ProcessTarget, clock: Clock) -> None:
        self._find = find
        self._target = target
        self._clock = clock
        self._history = History()

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: count, youngest_s, restarts."""
        async with phases.phase("list"):
            seen = await asyncio.to_thread(self._find)
        phases.name = "verdict"
        now = self._clock.monotonic()
        self._history = remember(self._history, seen, now=now, window_s=self._target.restart_window)
        return judge(self._target, self._history, self._clock.now().timestamp())


def judge(target: ProcessTarget, history: History, now: float) -> Finding:
    """Decide what the processes say; `now` in Unix seconds.

    Raises:
        ProbeFailedError: Class `refused` for too few, `capacity` for too many, `protocol` for too many restarts.
    """
    seen, restarts = history.seen or frozenset(), len(history.restarts)
    youngest = min((now - one.started for one in seen), default=None)
    facts: Facts = {"count": len(seen), "restarts": restarts, "youngest_s": youngest and round(youngest, 1)}
    if len(seen) < target.min_count:
        sentence = f"{len(seen)} processes run, at least {target.min_count} expected"
        raise ProbeFailedError(ErrorClass.REFUSED, sentence, facts)
    if target.max_count is not None and len(seen) > target.max_count:
        sentence = f"{len(seen)} processes run, at most {target.max_count} expected"
        raise ProbeFailedError(ErrorClass.CAPACITY, sentence, facts)
    if target.max_restarts is not None and restarts > target.max_restarts:
        window = format_duration(target.restart_window)
        sentence = f"{restarts} starts within {window}, at most {target.max_restarts} expected"
        raise ProbeFailedError(ErrorClass.PROTOCOL, sentence, facts)
    if youngest is not None and youngest < target.min_age:
        detail = f"the youngest process has run for {youngest:.0f} s, less than {target.min_age:g} s"
        return Finding(status=ProbeStatus.DEGRADED, error_class=ErrorClass.PROTOCOL, detail=detail, facts=facts)
    return Finding(facts=facts)


def by_name(name: str) -> frozenset[Seen]:
    """Processes of a program."""
    return _those(lambda process: process.name() == name)


def by_pattern(pattern: str) -> frozenset[Seen]:
    """Processes whose arguments match, except the prober itself."""
    wanted, own = re.compile(pattern), psutil.Process().pid
    return _those(lambda process: process.pid != own and bool(wanted.search(" ".join(process.cmdline()))))


def by_pidfile(path: str) -> frozenset[Seen]:
    """The process that a file names.

    Raises:
        ProbeFailedError: Class `protocol`: the file holds something else, or cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="ascii", errors="replace")[:64].strip()
    except FileNotFoundError:
        return frozenset()
    except OSError as exc:
        raise ProbeFailedError(ErrorClass.PROTOCOL, f"{path} cannot be read: {exc.strerror}") from exc
    # Some servers (PostgreSQL) write more lines below.
    first = text.partition("\n")[0].strip()
    if not first.isdecimal():
        raise ProbeFailedError(ErrorClass.PROTOCOL, f"{path} does not begin with a process number")
    return _those(lambda _process: True, pids=[int(first)])


def _those(wanted: Callable[[psutil.Process], bool], pids: list[int] | None = None) -> frozenset[Seen]:
    found = set()
    for pid in psutil.pids() if pids is None else pids:
        try:
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE and wanted(process):
                found.add(Seen(pid, process.create_time()))
        except psutil.Error:
            continue  # it ended while it was looked at
    return frozenset(found)


def _build(_name: str, target: ProcessTarget, surroundings: Surroundings) -> Check:
    return ProcessCheck(find=_finder(target), target=target, clock=surroundings.clock)


def _finder(target: ProcessTarget) -> Callable[[], frozenset[Seen]]:
    if target.name is not None:
        name = target.name
        return lambda: by_name(name)
    if target.pidfile is not None:
        pidfile = target.pidfile
        return lambda: by_pidfile(pidfile)
    pattern = target.command_pattern or ""
    return lambda: by_pattern(pattern)


def _failure_type(target: ProcessTarget) -> FailureType:
    return target.failure


KIND = ProbeKind(
    target=ProcessTarget, component=Component.SERVICES, build=_build, failure_type=_failure_type, remembers=True
)

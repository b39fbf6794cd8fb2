"""A command of the operator's own decides: status 0 is healthy, 1 degraded, 2 unhealthy, anything else unknown.

That is the convention of monitoring plugins, which therefore run unchanged.
"""

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
from typing_extensions import override
from yaoki.config import Target
from yaoki.config.findings import Context
from yaoki.config.findings import Finding as Mistake
from yaoki.config.forms import AbsolutePath
from yaoki.config.mistakes import one_of
from yaoki.events.probe import ErrorClass, FailureType, ProbeStatus

from health_probe.adapters.children import ChildRunner, Ended
from health_probe.attempt import Facts, Finding, Phases, ProbeFailedError, presentable
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.targets import Component

_DEGRADED: Final = 1
_UNHEALTHY: Final = 2
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class ExecTarget(Target, frozen=True, kw_only=True, tag="exec"):
    """A program that is run without a shell, with an empty environment but for `PATH`, `LANG` and `environment`.

    Attributes:
        command: The program's absolute path, which has to stand in `probe.allowed_commands`.
        arguments: Each one argument, whatever characters it has.
        environment: Variables for the program. Not for secrets: name a file that it reads.
        failure: What its failure is called; chooses the recovery chain.
    """

    command: AbsolutePath
    arguments: tuple[str, ...] = ()
    environment: dict[Annotated[str, msgspec.Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$")], str] = msgspec.field(
        default_factory=dict
    )
    failure: FailureType = FailureType.ERROR_RATE

    @override
    def mistakes(self, path: str, context: Context) -> Iterator[Mistake]:
        """See `Target.mistakes`."""
        allowed = context.config.probe.allowed_commands
        if self.command not in allowed:
            yield Mistake(
                path=f"{path}.command",
                found=self.command,
                expected=f"a command of probe.allowed_commands: {one_of(allowed)}",
                hint="add it there if it may run with the prober's rights",
                also=("probe.allowed_commands",),
            )


class ExecCheck:
    """See `Check`."""

    def __init__(self, *, command: str, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self._argv = (command, *arguments)
        self._environment = {"PATH": _PATH, "LANG": "C.UTF-8", **environment}
        self._children = ChildRunner()

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: exit_status, output (the first line)."""
        async with phases.phase("run"):
            try:
                ended = await self._children.run(self._argv, environment=self._environment)
            except (OSError, ValueError) as exc:
                reason = getattr(exc, "strerror", None) or str(exc)
                raise ProbeFailedError(ErrorClass.LOCAL, f"{self._argv[0]} cannot be started: {reason}") from exc
        phases.name = "verdict"
        return judge(ended)


def judge(ended: Ended) -> Finding:
    """Read the exit status.

    Raises:
        ProbeFailedError: Class `protocol` for status 2; `local`, which is no verdict, for all but 0, 1 and 2.
    """
    output = presentable(ended.output.decode(errors="replace").strip().partition("\n")[0])
    facts: Facts = {"exit_status": ended.status, "output": output}
    said = output or f"status {ended.status} and no output"
    if ended.status == 0:
        return Finding(facts=facts)
    if ended.status == _DEGRADED:
        return Finding(status=ProbeStatus.DEGRADED, error_class=ErrorClass.PROTOCOL, detail=said, facts=facts)
    if ended.status == _UNHEALTHY:
        raise ProbeFailedError(ErrorClass.PROTOCOL, said, facts)
    how = f"was killed by signal {-ended.status}" if ended.status < 0 else f"ended with status {ended.status}"
    raise ProbeFailedError(ErrorClass.LOCAL, f"the command {how}, expected 0, 1 or 2; it said: {said}", facts)


def _build(_name: str, target: ExecTarget, _surroundings: Surroundings) -> Check:
    return ExecCheck(command=target.command, arguments=target.arguments, environment=target.environment)


def _failure_type(target: ExecTarget) -> FailureType:
    return target.failure


KIND = ProbeKind(
    target=ExecTarget, component=Component.SERVICES, build=_build, failure_type=_failure_type, remembers=True
)

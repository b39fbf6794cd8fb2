"""What may be repaired on a host: units, processes, containers, balancers, logs and commands, each by name.

Everything here is an allow-list. The agent of the host acts on what stands here and refuses everything else.
"""

from typing import Annotated, Literal

import msgspec

from yaoki.config.base import Section
from yaoki.config.forms import AbsolutePath, Duration, Name, PositiveDuration, Size

_NotEmpty = Annotated[str, msgspec.Meta(min_length=1)]


class ProcessSettings(Section, frozen=True, kw_only=True):
    """A process that is known by its PID file.

    Attributes:
        pid_file: Holds the number of the process, or of the leader of its group.
        program: What `/proc/<pid>/exe` has to be; another program under this number is left alone.
        group: Stop the whole process group that it leads.
        patience: How long it may take to end after SIGTERM; then SIGKILL.
        start: Program with arguments that starts it again; when left out, its supervisor does.
        started_within: How long the new process may take to stand in the PID file.
    """

    pid_file: AbsolutePath
    program: AbsolutePath
    group: bool = False
    patience: PositiveDuration = 10.0
    start: tuple[_NotEmpty, ...] = ()
    started_within: PositiveDuration = 20.0


class DockerSettings(Section, frozen=True, kw_only=True):
    """The Docker daemon of the host.

    Attributes:
        socket: Its Unix socket.
        containers: Names of containers that may be restarted.
        patience: How long a container may take to stop before it is killed.
    """

    socket: AbsolutePath = "/var/run/docker.sock"
    containers: tuple[_NotEmpty, ...] = ()
    patience: PositiveDuration = 10.0


class BalancerSettings(Section, frozen=True, kw_only=True):
    """The HAProxy of the host.

    Attributes:
        socket: Its runtime API: a Unix socket with `level admin`.
        backends: Whose servers may be drained and weighted.
    """

    socket: AbsolutePath
    backends: Annotated[tuple[_NotEmpty, ...], msgspec.Meta(min_length=1)]


class LogSettings(Section, frozen=True, kw_only=True):
    """A directory with logs that may be deleted when they are old.

    Attributes:
        directory: Links out of it are not followed.
        files: Shell patterns over the names of files.
        older_than: Since their last change.
    """

    directory: AbsolutePath
    files: Annotated[tuple[_NotEmpty, ...], msgspec.Meta(min_length=1)] = ("*.log.*", "*.gz", "*.log-*")
    older_than: Duration = 604_800.0


class ProcessRule(Section, frozen=True, kw_only=True):
    """Processes that may be ended when the host runs short. All limits that are given have to be exceeded.

    Attributes:
        program: What `/proc/<pid>/exe` has to be.
        memory: Resident memory.
        cpu: Percent of one processor, while it is watched for a second.
        older_than: Since it began.
        patience: How long it may take to end after SIGTERM; then SIGKILL.
    """

    program: AbsolutePath
    memory: Size | None = None
    cpu: Annotated[float, msgspec.Meta(gt=0)] | None = None
    older_than: Duration = 60.0
    patience: PositiveDuration = 10.0


class CommandSettings(Section, frozen=True, kw_only=True):
    """A command that may be run, without a shell and without arguments from outside.

    Attributes:
        run: Program, by absolute path, and its arguments.
        effect: `once` when repeating it does harm; a run then asks a person when its outcome is unknown.
        timeout: After this it is killed with all it started.
    """

    run: Annotated[tuple[_NotEmpty, ...], msgspec.Meta(min_length=1)]
    effect: Literal["idempotent", "once"] = "idempotent"
    timeout: PositiveDuration = 30.0


class Repairs(Section, frozen=True, kw_only=True):
    """What an agent may do on its host for recovery.

    Attributes:
        units: Names of systemd units that may be restarted.
        user_units: They belong to the user manager of the agent's user (`systemctl --user`).
        processes: Processes that may be restarted, by name.
        docker: Containers that may be restarted.
        haproxy: The balancer on this host.
        logs: What may be cleaned up.
        clean_up: Rules for processes that may be ended, by name.
        commands: Commands that may be run, by name.
    """

    units: tuple[_NotEmpty, ...] = ()
    user_units: bool = False
    processes: dict[Name, ProcessSettings] = msgspec.field(default_factory=dict)
    docker: DockerSettings | None = None
    haproxy: BalancerSettings | None = None
    logs: tuple[LogSettings, ...] = ()
    clean_up: dict[Name, ProcessRule] = msgspec.field(default_factory=dict)
    commands: dict[Name, CommandSettings] = msgspec.field(default_factory=dict)

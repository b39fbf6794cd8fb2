"""One PostgreSQL data directory: start, stop, kill, and the settings that must be right before a start."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import ErrorCode, RejectedError, TransientError

from health_probe.agent import processes
from health_probe.agent.durable import sync_directory
from health_probe.agent.programs import PasswordFile, ServerUser, environment, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from health_probe.agent.addresses import ServerAddress

STOP_MODES = ("fast", "immediate", "kill")
_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_KILL_S = 10.0
_CONTROL_S = 10.0
_WAL_NAME = re.compile(r"[0-9A-F]{24}(\.partial)?|[0-9A-F]{8}\.history")


class Followed(msgspec.Struct, frozen=True):
    """How a standby of this node reaches its upstream: everything but the address.

    Attributes:
        user: Replication role.
        passwords: File that holds its password.
        member: This member's name, which the primary's `synchronous_standby_names` uses.
    """

    user: str
    passwords: PasswordFile
    member: str

    def conninfo(self, upstream: ServerAddress) -> str:
        """The value of `primary_conninfo`."""
        return (
            f"host={upstream.host} port={upstream.port} user={self.user} passfile='{self.passwords.path}' "
            f"application_name={self.member} connect_timeout=5"
        )


class FinalPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Where the WAL of a stopped server ends.

    Attributes:
        clean: It was shut down, so that its last record is the checkpoint at `position`; else it crashed, and where
            its WAL ends is unknown.
        position: Beginning of the last checkpoint's record, bytes.
        timeline: Of that checkpoint.
    """

    clean: bool
    position: int
    timeline: int


class PostgresNode:
    """Runs the server of one data directory.

    Args:
        data_directory: Of the server.
        binaries: Directory of PostgreSQL's programs.
        user: Whom the server runs as.
        port: Where it listens; given on its command line, since a clone carries its source's configuration.
        log_file: What the server prints.
        followed: How it follows an upstream.
    """

    def __init__(
        self,
        *,
        data_directory: Path,
        binaries: Path,
        user: ServerUser,
        port: int,
        log_file: Path,
        followed: Followed,
    ) -> None:
        self.data_directory = data_directory
        self.binaries = binaries
        self.user = user
        self.followed = followed
        self._port = port
        self._log_file = log_file
        self._child: subprocess.Popen[bytes] | None = None

    # -- what there is

    def working(self) -> frozenset[int]:
        """Pids of all living processes of the data directory, orphans included."""
        if self._child is not None:
            self._child.poll()  # a zombie of ours works nowhere, but should not pile up
        return processes.working_in(self.data_directory)

    def postmaster(self) -> int | None:
        """Pid of the living postmaster, also while it starts and has written no pid file yet."""
        found = processes.postmaster_of(self.data_directory)
        if found is None and self._child is not None and self._child.poll() is None:
            return self._child.pid
        return found

    def has_standby_signal(self) -> bool:
        """The next start is as a standby, and so is a server that has not been promoted since."""
        return (self.data_directory / "standby.signal").exists()

    def timeline(self) -> int:
        """The newest timeline of the directory's WAL, 0 without any. It grows with every promotion.

        The control file would name it only after the next checkpoint.
        """
        try:
            names = os.listdir(self.data_directory / "pg_wal")  # noqa: PTH208 - names are all that is wanted
        except FileNotFoundError:
            return 0
        return max((int(name[:8], 16) for name in names if _WAL_NAME.fullmatch(name)), default=0)

    async def final_position(self) -> FinalPosition:
        """What the control file says; means something only while no process works in the directory.

        Raises:
            TransientError: `pg_controldata` failed, or says what no version that we know says.
        """
        said = await run([self.binaries / "pg_controldata", self.data_directory], user=self.user, timeout_s=_CONTROL_S)
        lines = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        try:
            high, low = lines["Latest checkpoint location"].strip().split("/")
            return FinalPosition(
                clean=lines["Database cluster state"].strip() == "shut down",
                position=(int(high, 16) << 32) + int(low, 16),
                timeline=int(lines["Latest checkpoint's TimeLineID"]),
            )
        except (KeyError, ValueError) as error:
            raise TransientError(f"pg_controldata of {self.data_directory} cannot be read: {error!r}") from error

    # -- start

    def start(self, *, may_write: Callable[[], bool] | None) -> None:
        """Start the postmaster; does not wait until it accepts connections.

        Without `may_write` the server starts as a standby. With it, it starts as a primary: `may_write` is asked in the
        last instant before the process is created, with nothing awaited in between, so that a lease that is lost before
        stops the start, and one that is lost later kills what was started.

        A standby is never made a primary by starting it without `standby.signal`: it would write on the old primary's
        timeline, and nobody could tell the two histories apart any more. It has to be promoted.

        Raises:
            RejectedError: Processes are there already, the directory is a standby's, or `may_write` said no. Nothing
                was started.
        """
        if left := self.working():
            raise RejectedError(
                f"processes {sorted(left)} work in {self.data_directory}; stop them before a start",
                code=ErrorCode.UNSAFE,
            )
        if may_write is not None and self.has_standby_signal():
            raise RejectedError(
                f"{self.data_directory} is a standby's; start it as a standby and promote it", code=ErrorCode.UNSAFE
            )
        # With nobody left it is stale; its pid may meanwhile belong to a stranger, for whom PostgreSQL would wait.
        (self.data_directory / "postmaster.pid").unlink(missing_ok=True)
        if may_write is None:
            self._set_standby_signal()
        with self._log_file.open("ab") as log:
            if may_write is not None and not may_write():
                raise RejectedError("the lease ended before the start", code=ErrorCode.UNSAFE)
            self._child = subprocess.Popen(  # noqa: S603 - the configured server
                [self.binaries / "postgres", "-D", self.data_directory, "-p", str(self._port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                cwd=self.data_directory,
                # It outlives a killed agent, for as long as the watchdog lets it.
                start_new_session=True,
                **self.user.arguments(),
            )

    def _set_standby_signal(self) -> None:
        marker = self.data_directory / "standby.signal"
        marker.touch()
        self.user.own(marker, 0o600)
        sync_directory(self.data_directory)

    def write_settings(self, settings: Mapping[str, str], directory: Path | None = None) -> None:
        """Set what `ALTER SYSTEM` sets, in a directory whose server does not run."""
        path = (directory or self.data_directory) / "postgresql.auto.conf"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if line.partition("=")[0].strip() not in settings]
        added = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
        temporary = path.with_name(".postgresql.auto.conf.new")
        temporary.write_text("\n".join([*kept, *added, ""]), encoding="utf-8")
        self.user.own(temporary, 0o600)
        temporary.replace(path)
        sync_directory(path.parent)

    def follow_settings(self, upstream: ServerAddress) -> dict[str, str]:
        """The settings of a standby of `upstream`."""
        return {"primary_conninfo": self.followed.conninfo(upstream), "primary_slot_name": ""}

    def is_configured_to_follow(self, upstream: ServerAddress) -> bool:
        """Whether the settings are those of a standby of `upstream`."""
        path = self.data_directory / "postgresql.auto.conf"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return f"primary_conninfo = {_quoted(self.followed.conninfo(upstream))}" in text

    # -- stop

    async def stop(self, mode: str = "fast", *, patience_s: float = 5.0) -> None:
        """Stop the server and return when not one process is left.

        `fast` and `immediate` are given `patience_s` each, then the next harder mode follows; `kill` comes last.
        Never `smart`: it waits for the clients.

        Raises:
            TransientError: Processes are left even after SIGKILL; they must be taken for writers.
        """
        if mode not in STOP_MODES:
            raise RejectedError(f"mode is {mode!r}; expected one of {', '.join(STOP_MODES)}")
        for attempt in STOP_MODES[STOP_MODES.index(mode) : -1]:
            postmaster = self.postmaster()
            if postmaster is None:
                break
            processes.send([postmaster], self.data_directory, _SIGNALS[attempt])
            if await asyncio.to_thread(processes.wait_until_none, self.data_directory, within=patience_s):
                return
        await self.kill()

    async def kill(self) -> None:
        """Freeze and kill every process of the data directory; return when none is left.

        Raises:
            TransientError: As for `stop`.
        """
        left = await asyncio.to_thread(processes.kill_all, self.data_directory, within=_KILL_S)
        if left:
            raise TransientError(
                f"processes {sorted(left)} of {self.data_directory} survive SIGKILL (uninterruptible I/O?); nothing "
                "may be promoted while they are there: power the host off",
                code=ErrorCode.UNSAFE,
            )
        if self._child is not None:
            self._child.poll()


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"

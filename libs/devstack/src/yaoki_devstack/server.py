"""What all servers of the stack have in common: a directory, a port, a life, and handles to break it."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from typing_extensions import override

from yaoki_devstack import ports, proctree
from yaoki_devstack.cleanup import remove_directory
from yaoki_devstack.errors import ServerNotRunningError, ServerStartError, ServerStopError
from yaoki_devstack.guard import guard
from yaoki_devstack.lifetime import Lifetime
from yaoki_devstack.process import spawn
from yaoki_devstack.users import can_reach, postgres_identity
from yaoki_devstack.waiting import POLL_SECONDS, patient, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    import psutil

    from yaoki_devstack.users import Identity

START_SECONDS = 20.0
STOP_SECONDS = 10.0
_LOG_TAIL = 4_000
_TEMPORARY_FOR_ALL = Path("/var/tmp")  # noqa: S108 - mkdtemp is safe there


class Server(Protocol):
    """What a local server and one in a container have in common."""

    name: str

    @property
    def host(self) -> str:
        """Where the server listens."""

    @property
    def port(self) -> int:
        """The port that the server listens on."""

    @property
    def url(self) -> str:
        """The address for clients, credentials included."""

    async def start(self) -> None:
        """Start the server and wait until it answers."""

    async def stop(self) -> None:
        """Stop the server as an administrator would."""

    async def restart(self) -> None:
        """Stop the server and start it with the same data."""

    async def kill(self) -> None:
        """SIGKILL every process of the server."""

    async def pause(self) -> None:
        """Freeze the server: connections stay open and nothing answers."""

    async def resume(self) -> None:
        """Let a paused server go on."""

    def log_text(self) -> str:
        """Return what the server has logged."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def temporary_directory(prefix: str) -> Path:
    """Create a directory that other users can pass through and that is removed when this process ends."""
    usual = Path(tempfile.gettempdir())
    parent = usual if can_reach(usual, postgres_identity()) else _TEMPORARY_FOR_ALL
    directory = Path(tempfile.mkdtemp(prefix=f"yaoki-{prefix}-", dir=parent)).resolve()
    directory.chmod(0o711)
    guard.protect(directory)
    return directory


def remove_temporary(directory: Path) -> None:
    """Remove what `temporary_directory` created; nothing may run in it any more."""
    remove_directory(directory)
    guard.release(directory)


class LocalServer(Lifetime):
    """A server on loopback, run as a plain process that no event loop owns.

    Everything that acts on the processes finds them by `data_dir`, so it works alike for a server that was
    started here, by an agent, or by the `yaoki up` of an hour ago.

    A server object over the directory of an earlier one takes its ports over and so controls the same server.

    Args:
        name: names the server in logs and, where the technology has names, in its cluster.
        directory: holds data, configuration and log; a temporary one, removed on exit, when None.
        port: the port to use if it is free; any free port when None.
        detached: the server survives this process.
    """

    program: ClassVar[str]

    def __init__(
        self, *, name: str, directory: Path | None = None, port: int | None = None, detached: bool = False
    ) -> None:
        self.name = name
        self._temporary = directory is None
        # Not resolved: a path through /proc/<pid>/root would lose the mount namespace it leads into.
        self.directory = temporary_directory(name) if directory is None else directory.absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log_file = self.directory / "server.log"
        self._ports = ports.PortBook(self.directory / "ports.json")
        self._ports.reserve("main", port)
        self.detached = detached
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The address for clients, credentials included."""

    @property
    @abstractmethod
    def argv(self) -> list[str]:
        """The command line that starts the server; its working directory must be `data_dir`."""

    @abstractmethod
    async def prepare(self) -> None:
        """Create data directory and configuration without starting anything; what exists is kept."""

    @abstractmethod
    async def is_ready(self) -> bool:
        """Say whether the server answers its own protocol now."""

    @property
    def host(self) -> str:
        """The loopback address."""
        return ports.LOOPBACK

    @property
    def port(self) -> int:
        """The port that the server listens on, the same over all restarts."""
        return self._ports.number("main")

    @property
    def data_dir(self) -> Path:
        """Where the server keeps its data; also the working directory of its processes."""
        return self.directory / "data"

    @property
    def identity(self) -> Identity | None:
        """The user that the server runs as; None for the calling user."""
        return None

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that the server needs besides the caller's."""
        return {}

    @property
    def pid(self) -> int:
        """The pid of the main process.

        Raises:
            ServerNotRunningError: no process of the server lives.
        """
        root = proctree.root_of(self.processes())
        if root is None:
            raise ServerNotRunningError(f"server '{self.name}' has no process in {self.data_dir}; start() it first")
        return root.pid

    def processes(self) -> list[psutil.Process]:
        """Return every living process of the server, orphans included."""
        if self._process is not None:
            self._process.poll()
        return proctree.working_in(self.data_dir, (self.program,))

    @property
    def running(self) -> bool:
        """Whether any process of the server lives (paused ones do)."""
        return bool(self.processes())

    def log_text(self) -> str:
        """Return everything that the server has logged, over all restarts."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    @override
    async def start(self, *, within: float = START_SECONDS) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServerStartError: it ended or did not answer within `within` seconds.
        """
        await self.prepare()
        self.launch()
        await self.wait_ready(within=within)

    def launch(self) -> None:
        """Start the process without waiting for it to answer; `prepare()` must have run."""
        if self.running:
            raise ServerStartError(f"server '{self.name}' is running already (pid {self.pid}); stop() it first")
        self._process = spawn(
            self.argv,
            cwd=self.data_dir,
            log_file=self.log_file,
            environment=self.environment,
            identity=self.identity,
            detached=self.detached,
        )

    async def wait_ready(self, *, within: float = START_SECONDS) -> None:
        """Wait until the server answers; see `start`."""

        async def settled() -> bool:
            ended = self._process is not None and self._process.poll() is not None
            return ended or await self.is_ready()

        answered = await until(settled, within=within)
        if self._process is not None and self._process.poll() is not None:
            raise ServerStartError(f"server '{self.name}' ended with {self._process.returncode}: {self._tail()}")
        if not answered:
            raise ServerStartError(f"server '{self.name}' did not answer within {within} s: {self._tail()}")

    @override
    async def stop(self, *, within: float = STOP_SECONDS) -> None:
        """Stop the server as an administrator would and wait until no process of it is left.

        A paused server is woken first, since a stopped process handles no signal. One that does not end in
        time is killed.

        Raises:
            ServerStopError: processes were left even after SIGKILL.
        """
        if root := proctree.root_of(self.processes()):
            await self.resume()
            proctree.send([root], self._stop_signal())
            if not await proctree.wait_until_none(self.processes, within=within):
                await self.kill()
        await self._collect()

    def _stop_signal(self) -> signal.Signals:
        return signal.SIGTERM

    async def restart(self, *, within: float = START_SECONDS) -> None:
        """Stop the server if it runs, and start it with the same data on the same port."""
        await self.stop()
        await self.start(within=within)

    @override
    async def kill(self, *, within: float = STOP_SECONDS) -> None:
        """SIGKILL every process of the server and wait until none is left, as when the host loses power."""
        deadline = time.monotonic() + patient(within)
        while found := self.processes():
            proctree.send(found, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise ServerStopError(f"server '{self.name}': pids {[p.pid for p in found]} survived SIGKILL")
            await asyncio.sleep(POLL_SECONDS)
        await self._collect()

    async def _collect(self) -> None:
        """Take the exit status of an ended child, which is gone from /proc a moment before."""

        async def collected() -> bool:
            return self._process is None or self._process.poll() is not None or self.running

        await until(collected, within=STOP_SECONDS)

    async def pause(self) -> None:
        """SIGSTOP every process of the server: connections stay open and nothing answers."""
        if not self.running:
            raise ServerNotRunningError(f"server '{self.name}' is not running, so it cannot be paused")
        await proctree.freeze(self.processes)

    async def resume(self) -> None:
        """SIGCONT every process of the server; harmless when it was not paused."""
        proctree.send(self.processes(), signal.SIGCONT)

    @override
    def discard(self) -> None:
        """Release the port and remove the directory if it was temporary. The server must be stopped."""
        self._ports.release()
        if self._temporary:
            remove_temporary(self.directory)

    def _tail(self) -> str:
        return self.log_text()[-_LOG_TAIL:].strip() or "(its log is empty)"


def command_line(parts: Sequence[str | Path]) -> list[str]:
    """Return `parts` as strings."""
    return [str(part) for part in parts]

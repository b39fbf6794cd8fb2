"""Processes under test beside the servers: started by argv and environment, killed and paused by name."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from yaoki_devstack.errors import ServerNotRunningError, ServerStartError
from yaoki_devstack.process import spawn
from yaoki_devstack.server import remove_temporary, temporary_directory
from yaoki_devstack.waiting import until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_STOP_SECONDS = 10.0
_KILL_SECONDS = 5.0
_LOG_TAIL = 4_000


class ProcessGroup:
    """A set of named child processes with a log file each. What is still alive at the end is killed.

    Args:
        directory: Where logs go and processes work; a temporary one when None.
        environment: For every process, beside the caller's.
    """

    def __init__(self, directory: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._temporary = directory is None
        self.directory = temporary_directory("processes") if directory is None else directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self._environment = dict(environment or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._starts: dict[str, tuple[Sequence[str], Mapping[str, str] | None]] = {}

    def start(self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
        """Start a process under a name that no living one has; return its pid."""
        if self.running(name):
            raise ServerStartError(f"process '{name}' runs already (pid {self._processes[name].pid})")
        self._processes[name] = spawn(
            argv,
            cwd=self.directory,
            log_file=self.log_file(name),
            environment={**self._environment, **(environment or {})},
        )
        self._starts[name] = (argv, environment)
        return self._processes[name].pid

    def start_again(self, name: str) -> int:
        """Start a process that has ended as it was started before; return its pid."""
        self._expect(name)
        return self.start(name, *self._starts[name])

    def log_file(self, name: str) -> Path:
        """What the process wrote, over all its lives."""
        return self.directory / f"{name}.log"

    def tail(self, name: str) -> str:
        """The end of its log."""
        file = self.log_file(name)
        return file.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:] if file.exists() else ""

    def names(self) -> list[str]:
        """All that were ever started."""
        return sorted(self._processes)

    def running(self, name: str) -> bool:
        """Whether the process lives."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def exit_status(self, name: str) -> int | None:
        """How it ended, negative for a signal; None while it lives."""
        return self._expect(name).poll()

    async def stop(self, name: str, *, within: float = _STOP_SECONDS) -> int:
        """SIGTERM, and SIGKILL after `within` seconds; return the exit status."""
        process = self._expect(name)
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            if not await self._ended(process, within):
                await self.kill(name)
        return int(process.wait())

    async def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone. Its children live on."""
        process = self._expect(name)
        if process.poll() is None:
            process.kill()
        await self._ended(process, _KILL_SECONDS)

    def pause(self, name: str) -> None:
        """SIGSTOP."""
        os.kill(self._expect(name).pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT."""
        os.kill(self._expect(name).pid, signal.SIGCONT)

    async def close(self) -> None:
        """Kill what lives and remove a temporary directory."""
        for name in self.names():
            await self.kill(name)
        if self._temporary:
            remove_temporary(self.directory)

    async def _ended(self, process: subprocess.Popen[bytes], within: float) -> bool:
        async def ended() -> bool:
            return process.poll() is not None

        return await until(ended, within=within)

    def _expect(self, name: str) -> subprocess.Popen[bytes]:
        process = self._processes.get(name)
        if process is None:
            raise ServerNotRunningError(f"no process '{name}' was started; there are {self.names()}")
        return process

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

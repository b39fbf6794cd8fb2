"""Yaoki's own processes on this machine: who they are, starting them, finding them again, ending them."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
from yaoki.errors import FatalError
from yaoki_devstack.process import spawn
from yaoki_devstack.proctree import kill_until_none, send, working_under
from yaoki_devstack.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Mapping

_PYTHON = frozenset({Path(sys.executable).resolve().name})
_POLL_S = 0.05
_KILL_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """One process of the system.

    Attributes:
        name: Also its folder below the services' directory, by which it is found again.
        arguments: For the Python interpreter, `-m recovery ...`.
        environment: Beside the caller's.
        ready_url: Answers 2xx when the service is ready; None when being alive has to do.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready_url: str | None = None


class Services:
    """The processes below one directory, each in a folder of its own with its log.

    Args:
        directory: Parent of the folders.
        detached: They outlive the caller.
    """

    def __init__(self, directory: Path, *, detached: bool) -> None:
        self.directory = directory
        self._detached = detached

    def folder(self, name: str) -> Path:
        """Working directory of a service."""
        return self.directory / name

    def log_file(self, name: str) -> Path:
        """What a service prints."""
        return self.folder(name) / "log"

    def start(self, service: Service) -> int:
        """Start a process and return its id; see `wait_ready`."""
        folder = self.folder(service.name)
        folder.mkdir(parents=True, exist_ok=True)
        process = spawn(
            [sys.executable, *service.arguments],
            cwd=folder,
            log_file=self.log_file(service.name),
            environment=service.environment,
            detached=self._detached,
        )
        return process.pid

    async def wait_ready(self, service: Service, within_s: float = 40.0) -> None:
        """Return when the service is ready.

        Raises:
            FatalError: It ended, or was not ready in time; with the end of its log.
        """
        within_s = patient(within_s)
        deadline = time.monotonic() + within_s
        async with httpx.AsyncClient(timeout=patient(1.0)) as http:
            while not await _answers(http, service.ready_url):
                if not self.processes(service.name):
                    raise FatalError(f"{service.name} ended while starting:\n{self.tail(service.name)}")
                if time.monotonic() > deadline:
                    raise FatalError(f"{service.name} was not ready within {within_s:g} s:\n{self.tail(service.name)}")
                await asyncio.sleep(_POLL_S)

    def processes(self, name: str) -> list[psutil.Process]:
        """The live processes of a service."""
        return working_under(self.folder(name), _PYTHON)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to every process of a service."""
        send(self.processes(name), number)

    def tail(self, name: str, lines: int = 20) -> str:
        """The end of a service's log."""
        file = self.log_file(name)
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:]) if file.exists() else ""

    def stop(self, within_s: float = 10.0) -> None:
        """SIGTERM to every service, SIGKILL to what is left after `within_s` seconds. Blocking."""
        everything = working_under(self.directory, _PYTHON)
        send(everything, signal.SIGTERM)
        psutil.wait_procs(everything, timeout=patient(within_s))
        kill_until_none(lambda: working_under(self.directory, _PYTHON), within=_KILL_S)


async def _answers(http: httpx.AsyncClient, url: str | None) -> bool:
    if url is None:
        return True
    try:
        return (await http.get(url)).is_success
    except httpx.HTTPError:
        return False

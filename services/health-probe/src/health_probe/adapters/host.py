"""What the prober can say of the host that it runs on."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil
from yaoki.events.probe import ProbeStatus

from health_probe.overview import Part

_LIMIT_S: Final = 2.0
_MEMORY_LIMIT_PERCENT: Final = 90.0


class Host:
    """Measures the file system and the memory."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or Path(tempfile.gettempdir())
        self._writing: asyncio.Task[Part] | None = None

    async def parts(self) -> dict[str, Part]:
        """Both, by their heading in the overview."""
        return {"file_system": await self._file_system(), "memory": _memory()}

    async def _file_system(self) -> Part:
        # A disk that hangs keeps its thread; asking again must not take another one each time.
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(asyncio.to_thread(_write_and_read, self._directory))
        try:
            return await asyncio.wait_for(asyncio.shield(self._writing), _LIMIT_S)
        except TimeoutError:
            detail = f"{self._directory} did not take a file within {_LIMIT_S:g} s"
            return Part(status=ProbeStatus.UNHEALTHY, response_ms=_LIMIT_S * 1000, detail=detail)


def _write_and_read(directory: Path) -> Part:
    started = time.perf_counter()
    wanted = os.urandom(64)
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(wanted)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            intact = file.read() == wanted
    except OSError as exc:
        detail = f"cannot write in {directory}: {exc.strerror}"
        return Part(status=ProbeStatus.UNHEALTHY, response_ms=_elapsed_ms(started), detail=detail)
    status = ProbeStatus.HEALTHY if intact else ProbeStatus.UNHEALTHY
    detail = "" if intact else f"{directory} returned other bytes than were written"
    return Part(status=status, response_ms=_elapsed_ms(started), detail=detail)


def _memory() -> Part:
    started = time.perf_counter()
    used = psutil.virtual_memory().percent
    full = used > _MEMORY_LIMIT_PERCENT
    return Part(
        status=ProbeStatus.DEGRADED if full else ProbeStatus.HEALTHY,
        response_ms=_elapsed_ms(started),
        detail=f"{used:.1f} % used" + (f", more than {_MEMORY_LIMIT_PERCENT:g} %" if full else ""),
    )


def _elapsed_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)

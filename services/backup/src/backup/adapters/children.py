"""Child programs whose output or input is a stream of a backup."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final, Self

from backup.adapters.complaints import explained

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from backup.adapters.accounts import Account

_BUFFER: Final = 1 << 20
_CHUNK: Final = 512 << 10
_STDERR: Final = 16 << 10
_DEATH_S: Final = 5.0
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def output_of(
    argv: Sequence[str], environment: Mapping[str, str], *, account: Account | None = None
) -> AsyncGenerator[bytes]:
    """Standard output of a program, in chunks, until it has ended with status 0.

    Close the iterator (or cancel) to kill the program. Secrets go into `environment`, never into `argv`.

    Raises:
        SourceFailedError: It cannot be started, or ended otherwise; also after its last byte.
    """
    child = await _start(argv, environment, account, stdin=asyncio.subprocess.DEVNULL)
    complaints = asyncio.create_task(_last_of(child.stderr))
    try:
        async for chunk in _chunks(child.stdout):
            yield chunk
        status = await child.wait()
        if status != 0:
            raise explained(argv[0], status, await complaints)
    finally:
        await _end(child, complaints)


class Sink:
    """A program that reads a stream on standard input; an async context manager that kills it at the end.

    Args:
        argv: Program and arguments; no secrets.
        environment: Of the child, with its secrets; nothing else is inherited.
        account: To run as.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], *, account: Account | None = None) -> None:
        self._argv = argv
        self._environment = environment
        self._account = account
        self._child: asyncio.subprocess.Process | None = None
        self._drained: list[asyncio.Task[bytes]] = []
        self.gone = False
        """It reads no more: it has ended, well or not; `finish` says which."""

    async def __aenter__(self) -> Self:
        self._child = await _start(self._argv, self._environment, self._account, stdin=asyncio.subprocess.PIPE)
        self._drained = [asyncio.create_task(_last_of(pipe)) for pipe in (self._child.stderr, self._child.stdout)]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._child is not None:
            await _end(self._child, *self._drained)

    async def write(self, data: bytes) -> None:
        """Give it `data`; waits while it is busy. One that has ended early takes everything and keeps nothing."""
        if self._child is None or self._child.stdin is None or self.gone:
            return
        if self._child.stdin.is_closing():  # it has hung up since the last piece
            self.gone = True
            return
        try:
            self._child.stdin.write(data)
            await self._child.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            self.gone = True

    async def finish(self) -> bytes:
        """End its input and wait for its end; returns the last of its standard output.

        Raises:
            SourceFailedError: It ended with another status than 0.
        """
        if self._child is None or self._child.stdin is None:
            return b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._child.stdin.close()
            await self._child.stdin.wait_closed()
        status = await self._child.wait()
        complaints, said = [await task for task in self._drained]
        if status != 0:
            raise explained(self._argv[0], status, complaints)
        return said


async def run(argv: Sequence[str], environment: Mapping[str, str], *, account: Account | None = None) -> bytes:
    """Run a program to its end; returns the last of its standard output.

    Raises:
        SourceFailedError: As for `output_of`.
    """
    async with Sink(argv, environment, account=account) as child:
        return await child.finish()


async def _start(
    argv: Sequence[str], environment: Mapping[str, str], account: Account | None, *, stdin: int
) -> asyncio.subprocess.Process:
    user = {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": _PATH, "LC_ALL": "C", **environment},
            cwd="/",
            limit=_BUFFER,
            start_new_session=True,
            **user,  # type: ignore[arg-type]  # mypy does not tell the keys of this dictionary apart
        )
    except OSError as exc:
        raise explained(argv[0], None, (exc.strerror or "").encode()) from exc


async def _chunks(pipe: asyncio.StreamReader | None) -> AsyncIterator[bytes]:
    """Pieces that are worth a turn of the compressor: a pipe gives 64 KiB at a time."""
    collected = bytearray()
    while pipe is not None and (piece := await pipe.read(_CHUNK)):
        collected += piece
        if len(collected) >= _CHUNK:
            yield bytes(collected)
            collected.clear()
    if collected:
        yield bytes(collected)


async def _last_of(pipe: asyncio.StreamReader | None) -> bytes:
    """Read to the end, keep the last: a program that is not read from stands still."""
    last = b""
    while pipe is not None and (piece := await pipe.read(_STDERR)):
        last = (last + piece)[-_STDERR:]
    return last


async def _end(child: asyncio.subprocess.Process, *tasks: asyncio.Task[bytes]) -> None:
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), _DEATH_S)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

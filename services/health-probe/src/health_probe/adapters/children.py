"""Child processes that cannot outlive, flood or hang their prober.

asyncio's own subprocesses reap the child before anybody could kill the rest of its process group, and wait for
the end of output that a grandchild may hold open for ever. Here the group is killed while its leader is a zombie,
so that its number cannot belong to somebody else yet, and nobody waits for the pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.events.probe import ErrorClass

from health_probe.attempt import ProbeFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_OUTPUT_BYTES: Final = 1 << 16

_CHUNK: Final = 1 << 14
_DEATH_S: Final = 0.5
"""How long a killed child is waited for; one that hangs in the kernel is reaped whenever it comes out."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a child ended.

    Attributes:
        status: Exit status; negative is the signal that killed it.
        output: Standard output and standard error, together and in order.
    """

    status: int
    output: bytes


class ChildRunner:
    """Runs children for one target.

    A child that does not die, because it hangs in the kernel on a lost file system, is not given company: until it
    is gone every further run fails at once.
    """

    def __init__(self) -> None:
        self._undead: set[_Child] = set()

    async def run(self, argv: Sequence[str], *, environment: Mapping[str, str]) -> Ended:
        """Run `argv` to its end, without a shell, in `/`, with nothing on standard input.

        However this ends (also when it is cancelled at a deadline), the whole process group is killed.

        Raises:
            ProbeFailedError: Class `protocol` for more than `MAX_OUTPUT_BYTES`; `timeout` while an earlier child
                still hangs.
            OSError: It cannot be started.
        """
        self._undead = {child for child in self._undead if not child.ended.done()}
        if self._undead:
            sentence = f"an earlier attempt still hangs in the kernel (process {next(iter(self._undead)).pid})"
            raise ProbeFailedError(ErrorClass.TIMEOUT, sentence)
        child = _Child(argv, environment)
        try:
            return await asyncio.shield(child.ended)
        finally:
            await self._finish(child)

    async def _finish(self, child: _Child) -> None:
        child.kill()
        self._undead.add(child)
        await asyncio.wait([child.ended], timeout=_DEATH_S)


class _Child:
    """One child with its pipe and its pidfd on the event loop."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self._output = bytearray()
        self._process = subprocess.Popen(  # noqa: S603 - argv comes from the configuration's allow-list; no shell
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=dict(environment),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        assert self._process.stdout is not None  # noqa: S101 - for the type: stdout=PIPE was asked for
        self._pipe = self._process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._loop.add_reader(self._pipe, self._read)
        self._loop.add_reader(self._pidfd, self._on_exit)

    def kill(self) -> None:
        """Kill the group, unless the leader has been reaped and the number may be somebody else's."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _read(self) -> bool:
        """Take what is there; False when there is nothing more for now or for ever."""
        try:
            data = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return False
        self._output += data
        if not data or len(self._output) > MAX_OUTPUT_BYTES:
            self._loop.remove_reader(self._pipe)
            if data:
                self.kill()
            return False
        return True

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self.kill()
        status = self._process.wait()
        while self._read():
            pass
        self._loop.remove_reader(self._pipe)
        os.close(self._pidfd)
        if self._process.stdout is not None:
            self._process.stdout.close()
        if self.ended.cancelled():
            return
        if len(self._output) > MAX_OUTPUT_BYTES:
            sentence = f"it wrote more than {MAX_OUTPUT_BYTES} bytes and was killed"
            self.ended.set_exception(ProbeFailedError(ErrorClass.PROTOCOL, sentence))
            self.ended.exception()  # whoever asked may have given up by now; that is no unhandled error
        else:
            self.ended.set_result(Ended(status=status, output=bytes(self._output)))

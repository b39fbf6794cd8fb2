"""The agent's end of the watchdog: starts it, attaches to it, feeds it, notices its death at once."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override
from yaoki.epoch import Epoch  # noqa: TC002 - msgspec reads the annotation at run time
from yaoki.errors import ErrorCode, TransientError

from health_probe.agent.durable import boottime
from health_probe.agent.watchdog_main import LONGEST_MESSAGE, SOCKET_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_START_S = 5.0
_ANSWER_S = 1.0
_RETRY_S = 0.02


class WatchdogState(msgspec.Struct, frozen=True, kw_only=True):
    """What the watchdog answers to every order.

    Attributes:
        ok: The order was carried out.
        error: Why not.
        deadline: CLOCK_BOOTTIME after which it kills; None while it guards nothing.
        epoch: Highest epoch obeyed.
        fired: How often it has killed.
        pid: Of the watchdog.
    """

    ok: bool
    error: str
    deadline: float | None
    epoch: Epoch
    fired: int
    pid: int


class _Outliving(subprocess.Popen[bytes]):
    """The watchdog's process, which outlives its agent by design: that it is left alone is no mistake to warn of."""

    @override
    def __del__(self) -> None:
        self.poll()


class WatchdogClient:
    """Keeps one watchdog alive and connected.

    Args:
        data_directory: What it guards.
        state_directory: Its state and socket.
        on_lost: Called in the event loop as soon as the connection to it is gone, unless `close` was called.
    """

    def __init__(self, data_directory: Path, state_directory: Path, on_lost: Callable[[], None]) -> None:
        self._data_directory = data_directory
        self._state_directory = state_directory
        self._on_lost = on_lost
        self._socket: socket.socket | None = None
        self._process = -1
        self._replies: asyncio.Queue[bytes] = asyncio.Queue()
        self._reader: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._attaching = asyncio.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._closing = False

    @property
    def connected(self) -> bool:
        """Whether the watchdog is there, as far as the kernel has told."""
        return self._socket is not None

    async def attach(self, *, within: float = _START_S) -> WatchdogState:
        """Connect to the living watchdog, or start one, and return what it guards.

        Raises:
            TransientError: None answered within `within` seconds. Nothing that may write must run then.
        """
        async with self._attaching:
            deadline = boottime() + within
            while True:
                await self._connect_or_spawn(deadline, within)
                try:
                    return await self._ask({"op": "state"})
                except TransientError:
                    # One that is being killed still takes connections for an instant.
                    if boottime() > deadline:
                        raise

    async def _connect_or_spawn(self, deadline: float, within: float) -> None:
        started = False
        while not self.connected and not self._connect():
            if boottime() > deadline:
                raise TransientError(
                    f"no watchdog for {self._data_directory} answers within {within:.2f} s; see "
                    f"{self._state_directory / 'watchdog.log'}",
                    code=ErrorCode.TIMEOUT,
                )
            if not started or (self._child is not None and self._child.poll() is not None):
                self._child = self._spawn()
                started = True
            await asyncio.sleep(_RETRY_S)

    async def arm(self, deadline: float, epoch: Epoch) -> WatchdogState:
        """Let the server write until `deadline` (CLOCK_BOOTTIME). When this returns it is on the watchdog's disk.

        Raises:
            TransientError: It did not answer, or it refused: the new deadline must not be relied on.
        """
        state = await self._ask({"op": "arm", "deadline": deadline, "epoch": [epoch.incarnation, epoch.counter]})
        if not state.ok:
            raise TransientError(f"the watchdog of {self._data_directory} refused the deadline: {state.error}")
        return state

    async def release(self) -> WatchdogState:
        """End the guard, because nothing that may write runs. Refused (`ok` false) when that is not true."""
        return await self._ask({"op": "release"})

    async def quit(self) -> None:
        """End the watchdog; it stays, and stays armed, when something that may write still runs.

        One that this process started is gone, with its lock, when this returns.
        """
        self._closing = True
        if self.connected:
            state = await self._ask({"op": "quit"})
            if state.ok and self._child is not None:
                with suppress(subprocess.TimeoutExpired):
                    await asyncio.to_thread(self._child.wait, _ANSWER_S)
        await self.close()

    async def close(self) -> None:
        """Leave it alone, armed as it is."""
        self._closing = True
        self._drop()

    def _connect(self) -> bool:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Through a descriptor of the directory: the path of a unix socket has at most 107 bytes.
        directory = os.open(self._state_directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
            connection.connect(f"/proc/self/fd/{directory}/{SOCKET_FILE}")
        except OSError:
            connection.close()
            return False
        finally:
            os.close(directory)
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        try:
            self._process = os.pidfd_open(struct.unpack("3i", peer)[0])
        except OSError:
            connection.close()
            return False
        self._socket = connection
        self._replies = asyncio.Queue()
        self._reader = asyncio.create_task(self._read(connection), name="watchdog-reader")
        return True

    async def _read(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while packet := await loop.sock_recv(connection, LONGEST_MESSAGE):
                self._replies.put_nowait(packet)
        except OSError:
            pass  # the same as its end
        if self._socket is connection:
            self._drop()

    def _drop(self) -> None:
        if self._socket is None:
            return
        if self._reader is not None:
            self._reader.cancel()
        self._socket.close()
        self._socket = None
        os.close(self._process)
        self._replies.put_nowait(b"")
        if not self._closing and not self._attaching.locked():
            self._on_lost()

    async def _ask(self, order: dict[str, object]) -> WatchdogState:
        async with self._turn:
            if self._socket is None:
                raise TransientError(f"the watchdog of {self._data_directory} is gone")
            try:
                self._socket.send(msgspec.json.encode(order))
                async with asyncio.timeout(_ANSWER_S):
                    packet = await self._replies.get()
            except (OSError, TimeoutError) as exc:
                # One that hangs holds the lock and guards nothing: it has to make room for another. Its deadline
                # is on the disk. A late reply must not be taken for the answer to the next order either.
                with suppress(OSError):
                    signal.pidfd_send_signal(self._process, signal.SIGKILL)
                self._drop()
                raise TransientError(f"the watchdog of {self._data_directory} does not answer: {exc}") from exc
            if not packet:
                raise TransientError(f"the watchdog of {self._data_directory} is gone")
            return msgspec.json.decode(packet, type=WatchdogState)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self._state_directory / "watchdog.log").open("ab") as log:
            return _Outliving(
                [
                    *(sys.executable, "-m", "health_probe.agent.watchdog_main"),
                    *("--data-directory", str(self._data_directory)),
                    *("--state-directory", str(self._state_directory)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                # Its own session: what ends the agent's process group must not end its watchdog.
                start_new_session=True,
            )

"""The watchdog of one data directory, a process of its own: `python -m health_probe.agent.watchdog_main`.

Invariant: once armed, no process that can write lives in the data directory after the deadline, whatever became
of the agent. It is armed before the server may write, fed by every renewal of the lease, and kills by itself.

- One for each data directory: it holds a lock file beside it. A second one ends at once, with status 0.
- What it is armed with lies on the disk (boot id, CLOCK_BOOTTIME, epoch) before it answers, so that its successor
  goes on where it was killed. A deadline of another boot is void: nothing that it guarded survived.
- After it has fired it stays armed with the lapsed deadline and kills whatever starts there without
  `standby.signal`, until it is fed again or released: an agent that was stopped between looking at its lease and
  starting the server may wake at any time.
- Its socket takes orders from its own user and root only, and no order with an epoch below the last one.

Standard library only: it must start fast, stay small and not depend on anything that the agent loads.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import os
import selectors
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from health_probe.agent import durable, processes

if TYPE_CHECKING:
    from collections.abc import Callable

STATE_FILE = "watchdog.json"
SOCKET_FILE = "watchdog.sock"
LONGEST_MESSAGE = 4096
LONGEST_DEADLINE_S = 600.0
_TICK_S = 0.1  # poll() does not count the time in suspend, so it must wake and look at CLOCK_BOOTTIME itself
_KILL_S = 5.0
_UNARMED_ALONE_S = 30.0  # an agent that is started again needs none before; it starts another


class Watchdog:
    """Holds the deadline and enforces it; see the module for the invariant.

    Args:
        data_directory: What is guarded.
        state_file: Where the deadline is kept.

    Attributes:
        deadline: CLOCK_BOOTTIME, seconds; None while nothing that may write is guarded.
        lapsed: The deadline has passed and everything was killed once.
        fired: How often that has happened.
    """

    def __init__(self, data_directory: Path, state_file: Path) -> None:
        self.data_directory = data_directory
        self._state_file = state_file
        self.deadline: float | None = None
        self.epoch: tuple[int, int] = (0, 0)
        self.fired = 0
        self.lapsed = False
        self._load()

    def _load(self) -> None:
        try:
            state = durable.read_state(self._state_file)
        except (ValueError, OSError):
            self.deadline = 0.0  # unreadable: the worse case is a deadline that has passed
            return
        if state is None:
            return
        first, second = state["epoch"]
        self.epoch = (int(first), int(second))
        self.fired = int(state["fired"])
        if state["boot_id"] == durable.boot_id() and state["deadline"] is not None:
            self.deadline = float(state["deadline"])

    def _save(self) -> None:
        durable.write_state(
            self._state_file,
            {
                "boot_id": durable.boot_id(),
                "deadline": self.deadline,
                "epoch": list(self.epoch),
                "fired": self.fired,
            },
        )

    def enforce(self) -> None:
        """Kill if the deadline has passed. Called before every order and at least every tenth of a second."""
        if self.deadline is None or durable.boottime() < self.deadline:
            return
        if not self.lapsed or (not self._is_standby() and processes.working_in(self.data_directory)):
            self._kill()

    def is_useless(self, *, alone_s: float) -> bool:
        """Without an agent for `alone_s`: unarmed for long, or nothing runs and nobody could ever speak to it again.

        That is so when what it guards was removed, or its socket with the state directory after its deadline: it would
        only keep the lock from the watchdog of the next agent.
        """
        if self.deadline is None:
            return alone_s > _UNARMED_ALONE_S
        deaf = self.lapsed and not self._state_file.with_name(SOCKET_FILE).exists()
        removed = not self.data_directory.parent.exists()
        return (deaf or removed) and not processes.working_in(self.data_directory)

    def _kill(self) -> None:
        self.lapsed = not processes.kill_all(self.data_directory, within=_KILL_S)
        if self.lapsed:
            self.fired += 1
            with suppress(OSError):  # the disk then still holds the lapsed deadline, which is the safe reading
                self._save()

    def _is_standby(self) -> bool:
        return (self.data_directory / "standby.signal").exists()

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order; the reply says whether, and what holds now."""
        verb = order.get("op")
        handlers: dict[str, Callable[[dict[str, Any]], str]] = {
            "arm": self._arm,
            "release": self._release,
            "state": lambda _: "",
        }
        handler = handlers.get(str(verb))
        if handler is None:
            refusal = f"order {verb!r} is unknown; expected arm, release, state or quit"
        else:
            refusal = handler(order)
        return {
            "ok": not refusal,
            "error": refusal,
            "deadline": self.deadline,
            "epoch": list(self.epoch),
            "fired": self.fired,
            "pid": os.getpid(),
        }

    def _arm(self, order: dict[str, Any]) -> str:
        try:
            deadline = float(order["deadline"])
            first, second = order["epoch"]
            epoch = (int(first), int(second))
        except (KeyError, TypeError, ValueError):
            return "arm needs deadline (seconds of CLOCK_BOOTTIME) and epoch (two integers)"
        left = deadline - durable.boottime()
        if not math.isfinite(deadline) or not 0 < left <= LONGEST_DEADLINE_S:
            return f"deadline is {left:.3f} s from now; expected more than 0 and at most {LONGEST_DEADLINE_S:.0f}"
        if epoch < self.epoch:
            return f"epoch {epoch} is below {self.epoch}, which was obeyed before"
        before = (self.deadline, self.epoch, self.lapsed)
        self.deadline, self.epoch, self.lapsed = deadline, epoch, False
        try:
            self._save()
        except OSError as error:
            if before[0] is None:
                self.deadline, self.epoch, self.lapsed = before
                return f"the deadline cannot be written to {self._state_file}: {error.strerror}"
            # Armed already: the disk holds an earlier deadline, so a successor would stop the server too early.
        return ""

    def _release(self, _order: dict[str, Any]) -> str:
        if left := processes.working_in(self.data_directory):  # a standby, too: it may be about to be promoted
            return f"processes {sorted(left)} work in the data directory"
        self.deadline, self.lapsed = None, False
        with suppress(OSError):  # the disk then still holds a deadline: a successor would stop too much
            self._save()
        return ""


def serve(watchdog: Watchdog, listener: socket.socket) -> None:
    """Answer orders and enforce the deadline until told to quit, or until there is nothing left to guard."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    alone_since = durable.boottime()
    while True:
        watchdog.enforce()
        if len(selector.get_map()) > 1:
            alone_since = durable.boottime()
        elif watchdog.is_useless(alone_s=durable.boottime() - alone_since):
            return
        for key, _ in selector.select(_wait_s(watchdog)):
            watchdog.enforce()
            if key.fileobj is listener:
                _accept(listener, selector)
            elif isinstance(key.fileobj, socket.socket) and _receive(watchdog, key.fileobj, selector):
                return


def _wait_s(watchdog: Watchdog) -> float:
    if watchdog.deadline is None or watchdog.lapsed:
        return _TICK_S
    return min(_TICK_S, max(0.0, watchdog.deadline - durable.boottime()))


def _accept(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    connection, _ = listener.accept()
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid = struct.unpack("3i", credentials)[1]
    if uid not in (0, os.geteuid()):
        connection.close()
        return
    connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
    selector.register(connection, selectors.EVENT_READ)


def _receive(watchdog: Watchdog, connection: socket.socket, selector: selectors.BaseSelector) -> bool:
    """Answer one packet; True when the order was to quit and nothing is guarded."""
    quitting = False
    try:
        packet = connection.recv(LONGEST_MESSAGE)
        if packet:
            order = _decoded(packet)
            reply = watchdog.answer(order if order.get("op") != "quit" else {"op": "release"})
            quitting = order.get("op") == "quit" and reply["ok"]
            connection.send(json.dumps(reply).encode())
            return quitting
    except OSError:
        pass  # the peer is gone; the deadline stands
    selector.unregister(connection)
    connection.close()
    return quitting


def _decoded(packet: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        order = json.loads(packet)
        if isinstance(order, dict):
            return order
    return {}


def lock_path(data_directory: Path) -> Path:
    """The lock of the watchdog of a data directory: beside it, since its content may be replaced by a clone."""
    return data_directory.with_name(f".{data_directory.name}.watchdog.lock")


def _lock(data_directory: Path) -> int | None:
    descriptor = os.open(lock_path(data_directory), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _listen(state_directory: Path) -> socket.socket:
    # A relative name: the path of a unix socket has at most 107 bytes.
    os.chdir(state_directory)
    Path(SOCKET_FILE).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mask = os.umask(0o177)
    listener.bind(SOCKET_FILE)
    os.umask(mask)
    listener.listen(8)
    return listener


def _prefer_survival() -> None:
    """Ignore what a terminal or a careless stop sends to the group, and be the last that the OOM killer takes."""
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("-1000", encoding="ascii")


def main() -> int:
    """Guard the data directory named on the command line."""
    parser = argparse.ArgumentParser(description="Stops PostgreSQL when its lease lapses.")
    parser.add_argument("--data-directory", type=Path, required=True)
    parser.add_argument("--state-directory", type=Path, required=True)
    options = parser.parse_args()
    _prefer_survival()
    lock = _lock(options.data_directory)
    if lock is None:
        return 0
    watchdog = Watchdog(options.data_directory, options.state_directory / STATE_FILE)
    serve(watchdog, _listen(options.state_directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())

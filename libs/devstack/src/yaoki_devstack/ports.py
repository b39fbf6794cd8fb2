"""Loopback ports that stay reserved while their server is down.

A port taken with `bind(0)` lies in the kernel's range for outgoing connections: between two starts of a
server any client may be given it. Ports are therefore taken below that range, and each is held by an abstract
Unix socket of its number, which the kernel frees when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
from pathlib import Path

from yaoki_devstack.errors import UnavailableHereError

LOOPBACK = "127.0.0.1"
_FIRST = 20_000
_LAST = 32_767
_ATTEMPTS = 2_000
_MINIMUM_RANGE = 1_000


class PortLease:
    """A loopback TCP port reserved against other processes that use this module.

    Attributes:
        number: the port.
    """

    def __init__(self, number: int, lock: socket.socket) -> None:
        self.number = number
        # A bare descriptor: a socket object would warn when a lease is dropped without release, which is no
        # mistake.
        self._lock: int | None = lock.detach()

    def release(self) -> None:
        """Give the port up; releasing twice does nothing."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def __del__(self) -> None:
        self.release()


class PortBook:
    """The named ports of one server, written down so that they stay the same for whoever controls it next.

    Args:
        file: where the numbers are kept; those it holds already are taken over.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        known: dict[str, int] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self._leases = {name: adopt(number) for name, number in known.items()}

    def reserve(self, name: str, preferred: int | None = None) -> int:
        """Return the port called `name`, reserving `preferred` or a free one the first time."""
        if name not in self._leases:
            self._add({name: lease(preferred)})
        return self.number(name)

    def reserve_pair(self, lower: str, upper: str, offset: int) -> None:
        """Reserve two ports that lie `offset` apart; see `lease_pair`."""
        if lower not in self._leases:
            self._add(dict(zip((lower, upper), lease_pair(offset), strict=True)))

    def number(self, name: str) -> int:
        """Return the port called `name`; KeyError when it was never reserved."""
        return self._leases[name].number

    def numbers(self) -> dict[str, int]:
        """Return all ports by name."""
        return {name: found.number for name, found in self._leases.items()}

    def release(self) -> None:
        """Give all ports up."""
        for found in self._leases.values():
            found.release()

    def _add(self, leases: dict[str, PortLease]) -> None:
        self._leases.update(leases)
        self._file.write_text(json.dumps(self.numbers()), encoding="utf-8")


def lease(preferred: int | None = None) -> PortLease:
    """Reserve `preferred` if nobody has it, else a free port."""
    if preferred is not None and (found := _try(preferred)):
        return found
    first, last = _range()
    for _ in range(_ATTEMPTS):
        if found := _try(random.randint(first, last)):  # noqa: S311 - spreads load, keeps no secret
            return found
    raise UnavailableHereError(f"no free loopback port between {first} and {last}; end servers that hold them")


def adopt(number: int) -> PortLease:
    """Reserve `number` even though its server may already listen."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(OSError):
        lock.bind(_lock_address(number))
    return PortLease(number, lock)


def lease_pair(offset: int) -> tuple[PortLease, PortLease]:
    """Reserve two ports that lie `offset` apart, for servers that derive one from the other."""
    first, last = _range()
    for _ in range(_ATTEMPTS):
        lower = _try(random.randint(first, last - offset))  # noqa: S311 - spreads load, keeps no secret
        if lower is None:
            continue
        if upper := _try(lower.number + offset):
            return lower, upper
        lower.release()
    raise UnavailableHereError(f"no two free loopback ports {offset} apart between {first} and {last}")


def _range() -> tuple[int, int]:
    last = _LAST
    with contextlib.suppress(OSError, ValueError):
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        last = min(last, int(text.split()[0]) - 1)
    return (_FIRST, last) if last - _FIRST > _MINIMUM_RANGE else (_FIRST, _LAST)


def _try(number: int) -> PortLease | None:
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(_lock_address(number))
    except OSError:
        lock.close()
        return None
    if _is_bindable(number):
        return PortLease(number, lock)
    lock.close()
    return None


def _lock_address(number: int) -> str:
    return f"\0yaoki-devstack-port-{number}"


def _is_bindable(number: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port whose old connections wait in TIME_WAIT is free, a listening one is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, number))
        except OSError:
            return False
    return True

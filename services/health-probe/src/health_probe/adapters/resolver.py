"""Name resolution that one hanging name cannot take from the others."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading

Address = tuple[int, tuple[str | int | bytes, ...]]


class Resolver:
    """Resolves names in a daemon thread for each name under way.

    The event loop's own resolver shares a pool of a few threads: some names whose servers hang would fill it
    and so delay every other target. Threads here are bounded by the number of different names, and daemons,
    because `getaddrinfo` cannot be interrupted.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int], asyncio.Future[list[Address]]] = {}

    async def resolve(self, host: str, port: int) -> list[Address]:
        """All addresses of `host`, in the system's order of preference.

        Raises:
            socket.gaierror: The name does not resolve.
        """
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        key = (host, port)
        if key not in self._under_way:
            loop = asyncio.get_running_loop()
            self._under_way[key] = loop.create_future()
            threading.Thread(target=self._look_up, args=(loop, key), daemon=True, name="dns").start()
        return await asyncio.shield(self._under_way[key])

    def _look_up(self, loop: asyncio.AbstractEventLoop, key: tuple[str, int]) -> None:
        found: list[Address] | OSError
        try:
            found = [(row[0], row[4]) for row in socket.getaddrinfo(*key, type=socket.SOCK_STREAM)]
        except OSError as exc:
            found = exc
        except UnicodeError:
            found = socket.gaierror(socket.EAI_NONAME, "not a host name")
        try:
            loop.call_soon_threadsafe(self._settle, key, found)
        except RuntimeError:
            return  # the event loop ended while the system was still looking

    def _settle(self, key: tuple[str, int], found: list[Address] | OSError) -> None:
        answer = self._under_way.pop(key)
        if isinstance(found, OSError):
            answer.set_exception(found)
            answer.exception()  # everyone who asked may have given up by now; that is no unhandled error
        else:
            answer.set_result(found)


def _literal(host: str, port: int) -> Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return socket.AF_INET, (host, port)
    return socket.AF_INET6, (host, port, 0, 0)

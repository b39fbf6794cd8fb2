"""Whether the resolver of this machine answers at all."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import Final

import dns.asyncquery
import dns.exception
import dns.message
import dns.rdatatype

_CONFIGURATION: Final = Path("/etc/resolv.conf")
_BELIEVED_S: Final = 10.0
_LONGEST_S: Final = 2.0
_PORT: Final = 53


class SystemResolver:
    """See `gate.OwnResolver`: asks the name servers of `/etc/resolv.conf` for the root of all names.

    Any answer shows that a server is there, a refusal too: what it says of a name is then the name's fault. Asked only
    after a name did not resolve, and not again while the last answer is fresh.

    Args:
        configuration: In the format of resolv.conf.
        port: Of its name servers.
    """

    def __init__(self, configuration: Path = _CONFIGURATION, port: int = _PORT) -> None:
        self._configuration = configuration
        self._port = port
        self._answered_at: float | None = None
        self._asking: asyncio.Task[bool] | None = None

    async def problem(self, within_s: float) -> str | None:
        """See `OwnResolver.problem`."""
        if self._answered_at is not None and time.monotonic() - self._answered_at < _BELIEVED_S:
            return None
        servers = self._servers()
        if not servers:
            return f"{self._configuration} names no server to ask"
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._any_answers(servers), name="own resolver")
        done, _ = await asyncio.wait({self._asking}, timeout=within_s)
        if done and self._asking.result():
            return None
        return f"none of its name servers answers ({', '.join(servers)})"

    async def _any_answers(self, servers: list[str]) -> bool:
        tasks = [asyncio.create_task(self._answers(server)) for server in servers]
        try:
            for first in asyncio.as_completed(tasks):
                if await first:
                    self._answered_at = time.monotonic()
                    return True
        finally:
            for task in tasks:
                task.cancel()
        return False

    async def _answers(self, server: str) -> bool:
        query = dns.message.make_query(".", dns.rdatatype.NS, id=secrets.randbelow(1 << 16))
        try:
            await dns.asyncquery.udp(query, server, timeout=_LONGEST_S, port=self._port)
        except (dns.exception.DNSException, OSError, ValueError):
            return False
        return True

    def _servers(self) -> list[str]:
        try:
            lines = self._configuration.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        words = [line.split() for line in lines]
        return [row[1] for row in words if len(row) > 1 and row[0] == "nameserver"]

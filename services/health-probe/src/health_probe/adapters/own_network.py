"""Whether this machine has a way out: its default route, and addresses that have to be reachable."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from yaoki.config import Address

_REACH_S: Final = 2.0
_UP: Final = 0x1
_EVERYWHERE_V6: Final = "0" * 32


class OwnNetwork:
    """Looks at the routing table of the kernel, and tries the references.

    Args:
        references: One of them has to be reachable; none asks nothing.
        proc: Where the kernel shows its tables.
        sys: Where it shows its interfaces.
    """

    def __init__(
        self, references: Sequence[Address], *, proc: Path = Path("/proc/net"), sys: Path = Path("/sys/class/net")
    ) -> None:
        self._references = tuple(references)
        self._proc = proc
        self._sys = sys
        self._had_route = self._has_route()

    def route_problem(self) -> str | None:
        """Why there is no way out; None when there is, or never was: then nobody needed it."""
        has_route = self._has_route()
        self._had_route = self._had_route or has_route
        if has_route or not self._had_route:
            return None
        return "its default route is gone, or the interface that it leads through is down"

    async def reference_problem(self) -> str | None:
        """Why nothing outside can be reached; None when a reference can, or there is none."""
        if not self._references:
            return None
        reached = await asyncio.gather(*(_reaches(one) for one in self._references))
        if any(reached):
            return None
        return f"none of the references can be reached ({', '.join(str(one) for one in self._references)})"

    def _has_route(self) -> bool:
        return any(self._is_up(interface) for interface in self._default_interfaces())

    def _default_interfaces(self) -> Iterator[str]:
        for row in self._table("route"):
            # Iface Destination Gateway Flags RefCnt Use Metric Mask
            if len(row) > 7 and row[1] == row[7] == "00000000" and int(row[3], 16) & _UP:  # noqa: PLR2004 - the kernel's columns
                yield row[0]
        for row in self._table("ipv6_route"):
            # destination, length of its prefix, ..., flags, interface; the kernel keeps one that leads nowhere on `lo`.
            if len(row) > 9 and row[0] == _EVERYWHERE_V6 and row[1] == "00" and row[9] != "lo":  # noqa: PLR2004 - as above
                yield row[9]

    def _table(self, name: str) -> Iterator[list[str]]:
        try:
            text = (self._proc / name).read_text(encoding="ascii")
        except OSError:
            return
        yield from (line.split() for line in text.splitlines())

    def _is_up(self, interface: str) -> bool:
        try:
            return (self._sys / interface / "operstate").read_text(encoding="ascii").strip() != "down"
        except OSError:
            return True


async def _reaches(address: Address) -> bool:
    try:
        async with asyncio.timeout(_REACH_S):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except ConnectionRefusedError:
        return True
    except OSError:  # TimeoutError is one
        return False
    writer.transport.abort()
    return True

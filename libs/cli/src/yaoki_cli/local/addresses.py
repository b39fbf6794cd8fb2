"""Where the local system's own processes listen: the usual ports, or free ones where those are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki_devstack.ports import LOOPBACK, PortBook

if TYPE_CHECKING:
    from pathlib import Path

_PROBE = 18_080
_RECOVERY = 18_081
_SLO = 18_083
_ORDERS = 18_090
_FAILSAFE = 19_001


class Addresses:
    """`host:port` of each process, kept in a file so that the next command finds the same.

    Args:
        file: Where the numbers are kept.
    """

    def __init__(self, file: Path) -> None:
        self._book = PortBook(file)

    @property
    def probe(self) -> str:
        """The health probe's HTTP server."""
        return self._at("health-probe", _PROBE)

    @property
    def slo(self) -> str:
        """The HTTP server of the process that keeps service levels."""
        return self._at("slo", _SLO)

    def recovery(self, number: int) -> str:
        """The HTTP server of the recovery service's first or second instance."""
        return self._at(f"recovery-{number}", _RECOVERY + number - 1)

    @property
    def orders(self) -> str:
        """The order service."""
        return self._at("orders", _ORDERS)

    def failsafe(self, member: str, index: int) -> str:
        """Where the agent of a PostgreSQL member answers the holder."""
        return self._at(f"failsafe-{member}", _FAILSAFE + index)

    def release(self) -> None:
        """Give the ports up."""
        self._book.release()

    def _at(self, name: str, preferred: int) -> str:
        return f"{LOOPBACK}:{self._book.reserve(name, preferred)}"

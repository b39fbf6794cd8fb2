"""The watchdog's place beside the server: manned or not, armed or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.errors import TransientError

from health_probe.agent import metrics
from health_probe.agent.durable import boottime

if TYPE_CHECKING:
    from collections.abc import Callable

    from health_probe.agent.lease import Permit
    from health_probe.agent.watchdog import WatchdogClient

_REPLACE_S = 2.0
_UNARMED_S = 1.0


class GuardPost:
    """Knows whether a watchdog guards the server, and replaces one that is gone.

    Args:
        watchdog: The connection to it.
        margin_s: Of the lease.

    Attributes:
        armed: It holds a deadline; set by whoever took the lease.
    """

    def __init__(self, watchdog: WatchdogClient, *, margin_s: float) -> None:
        self._watchdog = watchdog
        self._margin_s = margin_s
        self.armed = False

    @property
    def manned(self) -> bool:
        """A watchdog is connected."""
        return self._watchdog.connected

    async def release(self) -> None:
        """Tell it that nothing here may write.

        Raises:
            TransientError: It is gone, or it sees a writer.
        """
        state = await self._watchdog.release()
        if not state.ok:
            raise TransientError(f"the watchdog keeps its guard: {state.error}")
        self.armed = False

    async def replace(self, permit: Callable[[], Permit | None]) -> None:
        """Start another one, armed as the one before.

        Until it stands the agent alone keeps the deadline. Starting first, and stopping the server only when that
        fails, keeps a killed watchdog from being an outage; it is bounded so that a server without one is stopped while
        its lease still holds.

        Args:
            permit: The permit that is held; asked again once the watchdog is there, since it may be lost meanwhile.

        Raises:
            TransientError: There is none in time.
            OSError: It cannot be started.
        """
        metrics.WATCHDOG_LOST.inc()
        held = permit()
        left = _UNARMED_S if held is None else held.deadline - boottime() - self._margin_s / 2
        await self._watchdog.attach(within=min(_REPLACE_S, max(left, 0.0)))
        held = permit()
        if held is not None:
            await self._watchdog.arm(held.deadline, held.record.epoch)

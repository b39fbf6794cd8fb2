"""One prober of one vantage, from its first look at the others to its leaving them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import msgspec
import structlog
from yaoki.errors import TransientError
from yaoki.messaging.ports import KeyValue  # noqa: TC002 - msgspec reads the annotation at run time
from yaoki.tasks import EndingGroup

from health_probe.board import Board  # noqa: TC001 - as above
from health_probe.judge import Judge  # noqa: TC001 - as above
from health_probe.membership import Membership  # noqa: TC001 - as above
from health_probe.ownership import Ownership  # noqa: TC001 - as above
from health_probe.prober import Prober  # noqa: TC001 - as above
from health_probe.reporter import Reporter  # noqa: TC001 - as above

_RETRY_S: Final = 0.5
_DRAIN_S: Final = 5.0
_REVIEW_S: Final = 2.0
_log = structlog.get_logger(__name__)


class WatchPost(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that share the bucket `health`."""

    health: KeyValue
    board: Board
    judge: Judge
    membership: Membership
    reporter: Reporter
    prober: Prober
    ownership: Ownership

    async def open(self) -> None:
        """Read what stands in the bucket, join the probers, and begin to watch.

        Raises:
            TransientError: NATS does not answer; nothing has begun.
        """
        for entry in await self.health.entries():
            self.board.take(entry)
        await self.membership.join()

    async def interrupted(self) -> None:
        """NATS was away: what comes next may be old."""
        self.board.interrupted()

    async def run(self) -> None:
        """For ever."""
        async with EndingGroup() as group:
            group.create_task(self._follow(), name="health")
            group.create_task(self.membership.run(), name="membership")
            group.create_task(self.reporter.run(), name="reporter")
            group.create_task(self._review(), name="review")

    async def close(self) -> None:
        """Deliver what is left and hand the targets over."""
        await self.ownership.stop()
        try:
            async with asyncio.timeout(_DRAIN_S):
                await self.reporter.drain()
        except (TimeoutError, TransientError):
            _log.warning("stopped before everything was delivered; whoever watches next derives it again")
        with contextlib.suppress(TransientError):
            await self.membership.leave()

    async def _review(self) -> None:
        """Views of targets that nobody watches any more grow old without a word: judge them by the clock."""
        while True:
            await asyncio.sleep(_REVIEW_S)
            for target in self.judge.presided - self.ownership.watched:
                self.judge.consider(target)

    async def _follow(self) -> None:
        while True:
            try:
                async for entry in self.health.watch():
                    self.board.take(entry)
            except TransientError as exc:
                _log.warning("health cannot be watched, trying again", error=exc.message)
            await asyncio.sleep(_RETRY_S)

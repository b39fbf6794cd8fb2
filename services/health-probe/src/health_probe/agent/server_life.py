"""Starts and ends of one PostgreSQL, and what is said of them. Stopping proves that nobody is left.

Whoever stops the server gives the lease up first, so that nothing can be started behind the proof.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yaoki.errors import TransientError
from yaoki.events.agent import ServerStarted, ServerStopped
from yaoki.telemetry import get_logger

from health_probe.agent import metrics
from health_probe.agent.durable import boottime

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.epoch import Epoch

    from health_probe.agent.announcer import Announcer
    from health_probe.agent.guard_post import GuardPost
    from health_probe.agent.leadership import Leadership
    from health_probe.agent.postgres_node import PostgresNode

_LEAVE_TO_RECOVERY_S = 30.0
_KILL_PAUSE_S = 0.2
log = get_logger(__name__)


class ServerLife:
    """See the module.

    Args:
        agent: Worker name.
        node: The server.
        post: Of its watchdog, released when nobody is left.
        epoch: The highest that this agent has obeyed.
        wake: Set when there is something to reconcile.

    Attributes:
        leadership: None before NATS was reached.
        stopping: Somebody is at it; nothing may be started meanwhile.
    """

    def __init__(
        self,
        *,
        agent: str,
        cluster: str,
        member: str,
        node: PostgresNode,
        post: GuardPost,
        announcer: Announcer,
        epoch: Callable[[], Epoch],
        wake: asyncio.Event,
    ) -> None:
        self._agent = agent
        self._cluster = cluster
        self._member = member
        self._node = node
        self._post = post
        self._announcer = announcer
        self._epoch = epoch
        self._wake = wake
        self.leadership: Leadership | None = None
        self.stopping = False
        self._alive = False
        self._renounced: tuple[Epoch | None, float] = (None, 0.0)

    def renounced(self) -> Epoch | None:
        """Epoch of the lease that was given up, while what comes of it is left to recovery; else None."""
        epoch, moment = self._renounced
        return epoch if boottime() - moment < _LEAVE_TO_RECOVERY_S else None

    def holds_again(self) -> None:
        """The lease was taken, with the watchdog armed."""
        self._post.armed = True
        self._renounced = (None, 0.0)

    def started(self, role: str) -> None:
        """The server was started, or became a primary."""
        self._alive = True
        self._announcer.announce(
            ServerStarted(agent=self._agent, cluster=self._cluster, member=self._member, epoch=self._epoch(), role=role)
        )

    def adopt(self, *, guarded: bool) -> None:
        """Take over what the agent before this one left running."""
        self._alive = self._node.postmaster() is not None
        self._post.armed = guarded

    def ends_by_itself(self) -> None:
        """Its end, which follows, is no crash."""
        self._alive = False

    async def notice(self, *, alive: bool) -> bool:
        """Take note of whether there is a postmaster. True: there was one and it crashed; nobody of it goes on.

        What is decided from a look at the server has to pass its `alive` here first: with the lease still held, a
        server that crashed unnoticed would simply be started again, behind the back of recovery.
        """
        crashed = self._alive and not alive
        if crashed:
            await self.stopped("crashed")
        self._alive = alive
        return crashed

    async def fence(self, reason: str) -> None:
        """Kill everything of the server and return when nobody is left, however long that takes."""
        self.stopping = True
        try:
            if self.leadership is not None:
                self.leadership.renounce()
            had = bool(self._node.working())
            while not await self._killed():  # noqa: ASYNC110 - the kernel tells nobody when the last one is gone
                await asyncio.sleep(_KILL_PAUSE_S)
            self._alive = False
            if had:
                self._say_stopped(reason)
        finally:
            self.stopping = False
        await self._try_release()
        self._wake.set()

    async def stopped(self, reason: str, mode: str = "kill", *, patience_s: float = 2.0) -> None:
        """Give the lease up, stop the server and prove that nobody is left.

        The record keeps this member's name: whoever wants to promote another revokes it, and then needs no wait,
        because the status says that nothing runs and nothing will be started.

        Raises:
            TransientError: Processes are left.
        """
        if self.leadership is not None and (epoch := self.leadership.renounce()) is not None:
            self._renounced = (epoch, boottime())
        self.stopping = True
        try:
            await self._node.stop(mode, patience_s=patience_s)
        finally:
            self.stopping = False
        if self._alive:
            self._alive = False
            self._say_stopped(reason)
        await self._try_release()

    async def demoted(self, reason: str, *, patience_s: float) -> None:
        """Stop the server as cleanly as it goes within `patience_s`, and give the lease up only then.

        The lease is renewed meanwhile: without it the watchdog would kill a server that still sends its last WAL.
        The caller holds the guard's turn, so that nothing can be started before the lease is given up.

        Raises:
            TransientError: Processes are left; the lease was given up.
        """
        self.stopping = True
        try:
            await self._node.stop("fast", patience_s=patience_s)
        finally:
            await self.stopped(reason)

    async def _killed(self) -> bool:
        try:
            await self._node.kill()
        except TransientError as error:
            log.critical("the server cannot be killed", error=error.message)
            return False
        return True

    def _say_stopped(self, reason: str) -> None:
        metrics.STOPS.labels(reason).inc()
        self._announcer.announce(
            ServerStopped(
                agent=self._agent, cluster=self._cluster, member=self._member, epoch=self._epoch(), reason=reason
            )
        )

    async def _try_release(self) -> None:
        try:
            await self._post.release()
        except TransientError as error:  # it goes on guarding a stopped server; the next round tries again
            log.warning("the watchdog was not released", error=error.message)

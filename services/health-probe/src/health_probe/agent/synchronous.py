"""Keeps the primary's synchronous standbys, and the record's promise about them, as durable as can be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yaoki.errors import TransientError
from yaoki.events.recovery import DurabilityDegraded, DurabilityRestored

from health_probe.agent.durability import (
    ASYNCHRONOUS,
    Change,
    Membership,
    Quorum,
    observe,
    parse_setting,
    present,
    setting_text,
    transition,
    wanted_quorum,
)
from health_probe.agent.durable import boottime

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from yaoki.events.base import Event

    from health_probe.agent.leadership import Leadership
    from health_probe.agent.postgres_sql import PostgresSql, ServerView

_SETTING_SETTLES_S = 0.2  # until the walsenders and the checkpointer have read the new setting
_CATCH_UP_S = 2.0
_POLL_S = 0.05


class SynchronousStandbys:
    """Carries out what `durability` decides, one primary.

    Args:
        configured: How many standbys are to acknowledge a commit.
        candidates: Members that may be synchronous standbys.
        grace_s: How long one that is gone still counts.
    """

    def __init__(
        self,
        *,
        member: str,
        configured: int,
        candidates: Collection[str],
        grace_s: float,
        sql: PostgresSql,
        leadership: Leadership,
        announce: Callable[[Event], None],
    ) -> None:
        self._member = member
        self._configured = configured
        self._candidates = frozenset(candidates) - {member}
        self._grace_s = grace_s
        self._sql = sql
        self._leadership = leadership
        self._announce = announce
        self._membership = Membership()
        self._degraded: bool | None = None

    async def keep(self, view: ServerView) -> None:
        """Adjust to who streams now; called again and again.

        Raises:
            TransientError: Not finished; what the record promises is true all the same.
        """
        streaming = self._candidates & view.streaming.keys()
        setting = parse_setting(view.synchronous_setting)
        now = boottime()
        self._membership = observe(self._membership, self._candidates | set(setting.names), streaming, now)
        counted = present(self._membership, setting, streaming, grace_s=self._grace_s, now=now)
        await self._change(view, wanted_quorum(self._configured, counted))

    async def set_now(self, standbys: Collection[str], *, within_s: float) -> Quorum:
        """Use those of `standbys` that stream within `within_s`; without any, degrade and say so."""
        hoped = frozenset(standbys) & self._candidates
        deadline = boottime() + within_s
        view = await self._sql.view()
        while len(hoped & view.streaming.keys()) < min(self._configured, len(hoped)) and boottime() < deadline:
            await asyncio.sleep(_POLL_S)
            view = await self._sql.view()
        wanted = wanted_quorum(self._configured, self._candidates & view.streaming.keys())
        await self._change(view, wanted)
        return wanted

    async def _change(self, view: ServerView, wanted: Quorum) -> None:
        permit = self._leadership.permit
        if permit is None:
            return
        setting = parse_setting(view.synchronous_setting)
        if setting == ASYNCHRONOUS and view.synchronous_setting:
            setting = Quorum((view.synchronous_setting,), 0)  # somebody else's words: to be replaced, promising nothing
        promise = Quorum(permit.record.synchronous, permit.record.synchronous_required)
        changed = False
        for step in transition(setting, promise, wanted):
            if step is Change.SETTING:
                await self._sql.configure({"synchronous_standby_names": setting_text(wanted)})
                changed = True
            elif step is Change.NO_PROMISE:
                await self._leadership.promise(ASYNCHRONOUS)
            else:
                if changed or setting == wanted:
                    await self._caught_up(wanted)
                await self._leadership.promise(wanted)
        self._say(wanted)

    async def _caught_up(self, wanted: Quorum) -> None:
        """Wait until what was acknowledged under the old setting is on the standbys, too."""
        if not wanted.required:
            return
        await asyncio.sleep(_SETTING_SETTLES_S)
        goal = (await self._sql.view()).received
        deadline = boottime() + _CATCH_UP_S
        while boottime() < deadline:
            flushed = (await self._sql.view()).streaming
            if sum(flushed.get(name, 0) >= goal for name in wanted.names) >= wanted.required:
                return
            await asyncio.sleep(_POLL_S)
        raise TransientError(f"the synchronous standbys {', '.join(wanted.names)} have not caught up yet")

    def _say(self, now: Quorum) -> None:
        degraded = now.required < self._configured
        permit = self._leadership.permit
        if degraded == self._degraded or permit is None:
            return
        cluster, epoch = permit.record.cluster, permit.record.epoch
        if degraded:
            self._announce(
                DurabilityDegraded(
                    cluster=cluster, member=self._member, epoch=epoch, wanted=self._configured, present=now.required
                )
            )
        elif self._degraded:
            self._announce(
                DurabilityRestored(cluster=cluster, member=self._member, epoch=epoch, wanted=self._configured)
            )
        self._degraded = degraded

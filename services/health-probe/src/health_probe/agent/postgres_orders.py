"""The orders `postgres.*` of recovery to an agent. Each checks first, is bounded, and may be repeated."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from yaoki import faults
from yaoki.errors import ConflictError, ErrorCode, RejectedError, TransientError
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

from health_probe.agent import metrics
from health_probe.agent.lease import promoted, promotion_obstacle
from health_probe.agent.postgres_node import STOP_MODES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yaoki.epoch import Epoch
    from yaoki.plans import JsonObject, Order

    from health_probe.agent.postgres_guard import PostgresGuard
    from health_probe.agent.postgres_sql import ServerView
    from health_probe.agent.reconcile import Seen

_POLL_S = 0.05
_RECONCILE_POLL_S = 0.2
_TAKE_ATTEMPTS = 5
_PATIENCE_S = 2.0
_STREAMING_S = 2.0
_STATEMENT_S = 10.0


class PostgresOrders:
    """Handlers by action name.

    Args:
        guard: Of the server.
    """

    def __init__(self, guard: PostgresGuard) -> None:
        self._guard = guard

    def handlers(self) -> dict[str, Callable[[Order], Awaitable[ActionResult]]]:
        """For `serve_orders`."""
        return {
            "postgres.stop": _measured(self.stop),
            "postgres.demote": _measured(self.demote),
            "postgres.final-position": _measured(self.final_position),
            "postgres.promote": _measured(self.promote),
            "postgres.set-synchronous": _measured(self.set_synchronous),
            "postgres.write-check": _measured(self.write_check),
            "postgres.checkpoint": _measured(self.checkpoint),
            "postgres.follow": _measured(self.follow),
        }

    async def stop(self, order: Order) -> JsonObject:
        """Give the lease up and stop the server, harder and harder; `processes` is 0, or the order has failed.

        Params: `mode`: fast, immediate or kill.
        """
        mode = _text(order, "mode", default="fast")
        if mode not in STOP_MODES:
            raise RejectedError(f"params.mode is {mode!r}; expected one of {', '.join(STOP_MODES)}")
        guard = self._guard
        await guard.cancel_rejoin()
        try:
            await guard.life.stopped("ordered", mode, patience_s=_PATIENCE_S)
            async with guard.turn:
                # An action that had begun before may have started it once more.
                await guard.life.stopped("ordered", "kill")
        except TransientError as error:
            raise ActionFailedError(error.message, code=error.code) from error
        return {"member": guard.member, "processes": len(guard.node.working())}

    async def demote(self, order: Order) -> JsonObject:
        """Stop the primary cleanly, so that its standbys get all of its WAL, and give the lease up.

        What cannot be stopped cleanly in time is killed: `postgres.final-position` tells. A repeat finds it stopped.

        Params: `patience_s`: for the clean stop, seconds.
        """
        guard = self._guard
        patience_s = order.params.get("patience_s", _PATIENCE_S)
        if not isinstance(patience_s, int | float) or patience_s <= 0:
            raise RejectedError(f"params.patience_s is {patience_s!r}; expected a positive number of seconds")
        guard.refuse_while_busy()
        async with guard.turn:
            if guard.holds() or guard.node.working():
                self._require_primary()
                try:
                    await guard.life.demoted("ordered", patience_s=float(patience_s))
                except TransientError as error:
                    raise ActionFailedError(error.message, code=error.code) from error
        return {"member": guard.member, "processes": len(guard.node.working())}

    async def final_position(self, _order: Order) -> JsonObject:
        """Where the WAL of the stopped primary ends: `position` (its last record begins there) and `timeline`.

        Refused while it runs, holds the lease, or was not shut down cleanly: then nobody knows what it acknowledged.
        """
        guard = self._guard
        if guard.holds() or guard.node.working():
            raise RejectedError(f"{guard.member} runs; only a stopped server has written its last record")
        final = await guard.node.final_position()
        if not final.clean:
            raise ActionFailedError(
                f"{guard.member} was not shut down cleanly, so that nobody can tell whether a standby has everything"
            )
        return {"member": guard.member, "position": final.position, "timeline": final.timeline}

    async def promote(self, order: Order) -> JsonObject:
        """Become the holder, then the primary; `timeline` is the new one.

        Refused unless this is a running standby, nobody holds the lease, the order's epoch is above the record's, and
        no failsafe grant runs here. A repeat finishes what the first one began.
        """
        guard = self._guard
        guard.refuse_while_busy()
        async with guard.turn:
            seen = await self._accept(order.epoch)
            view = await guard.observer.look()
            try:
                if view is None or view.in_recovery:
                    view = await self._take_and_promote(order, seen)
            except BaseException:
                if guard.holds():
                    # What was begun might still promote it later: with the lease goes the server.
                    await guard.life.stopped("ordered")
                raise
            finally:
                guard.promoting = False
        guard.wake.set()
        return {"member": guard.member, "timeline": view.timeline, "position": view.received}

    async def _accept(self, epoch: Epoch) -> Seen:
        """Check everything, and exclude grants to older holders from now on."""
        guard = self._guard
        seen = await guard.claims.store.read()
        view = await guard.observer.look()
        # Also a later leader of the run repeats it, with its own, higher epoch.
        repeat = (
            seen.record is not None
            and seen.record.holder == guard.member
            and seen.record.epoch <= epoch
            and not seen.record.revoked_by
        )
        if repeat and view is not None and not view.in_recovery and not guard.holds():
            raise TransientError(f"{guard.member} was promoted and has not taken its lease again yet; ask again")
        if view is None or not (view.in_recovery or repeat):
            found = "does not answer" if view is None else "is not in recovery"
            raise RejectedError(f"{guard.member} {found}; only a running standby can be promoted")
        async with guard.book.lock:
            obstacle = promotion_obstacle(seen.record, guard.member, epoch, granted_s=guard.book.remaining())
            if obstacle is not None:
                raise obstacle
            guard.promoting = True
            guard.book.accept_promotion(epoch)
        faults.point("agent.promotion-accepted")
        return seen

    async def _take_and_promote(self, order: Order, seen: Seen) -> ServerView:
        guard = self._guard
        await self._take(order.epoch, seen)
        faults.point("agent.lease-taken")
        guard.post.armed = True
        if not guard.leadership.may_write():
            raise ActionFailedError("the lease lapsed before the promotion began")
        guard.lineage.before_writing()
        await guard.sql.promote(_STATEMENT_S)
        while True:
            view = await guard.observer.look()
            if not guard.leadership.may_write():
                raise ActionFailedError(f"{guard.member} lost the lease while it was being promoted")
            if view is not None and not view.in_recovery:
                break
            await asyncio.sleep(_POLL_S)
        faults.point("agent.promoted")
        guard.life.started("primary")
        return view

    async def _take(self, epoch: Epoch, seen: Seen) -> None:
        """Become holder by compare-and-set; an unanswered one is settled by reading what was written."""
        guard = self._guard
        for _ in range(_TAKE_ATTEMPTS):
            obstacle = promotion_obstacle(seen.record, guard.member, epoch, granted_s=guard.book.remaining())
            if obstacle is not None:
                raise ActionFailedError(obstacle.message, code=obstacle.code)
            if seen.record is None:
                break
            mine = (seen.record.holder, seen.record.epoch) == (guard.member, epoch)
            record = (
                guard.leadership.renewed(seen.record)
                if mine
                else promoted(seen.record, guard.member, epoch, members=guard.members)
            )
            try:
                await guard.leadership.take(record, over=seen.revision)
            except (ConflictError, TransientError):
                seen = await guard.claims.store.read()
            else:
                return
        raise ActionFailedError("the lease record could not be written", code=ErrorCode.CONFLICT)

    async def set_synchronous(self, order: Order) -> JsonObject:
        """Let those of `standbys` that stream acknowledge commits; without any, go on without, and say so.

        Params: `standbys`: names of members.
        """
        standbys = order.params.get("standbys", [])
        if not isinstance(standbys, list) or not all(isinstance(name, str) for name in standbys):
            raise RejectedError(f"params.standbys is {standbys!r}; expected a list of member names")
        self._require_primary()
        async with self._guard.turn:
            quorum = await self._guard.synchronous.set_now(standbys, within_s=_STREAMING_S)
        return {"synchronous": list(quorum.names), "required": quorum.required}

    async def write_check(self, _order: Order) -> JsonObject:
        """Commit a write as strictly as the applications do, and read it back on another connection."""
        self._require_primary()
        started = time.monotonic()
        token = await self._guard.sql.write_and_read_back(_STATEMENT_S)
        return {"token": token, "seconds": round(time.monotonic() - started, 3)}

    async def checkpoint(self, _order: Order) -> JsonObject:
        """A checkpoint, so that `pg_rewind` on the old primary sees the new timeline."""
        self._require_primary()
        await self._guard.sql.checkpoint(_STATEMENT_S * 6)
        return {}

    async def follow(self, order: Order) -> JsonObject:
        """Follow the holder now rather than at the next round; the new primary itself skips this.

        Params: `primary`: name of the member to follow, which must be the holder.
        """
        guard = self._guard
        primary = _text(order, "primary")
        if primary == guard.member:
            raise PreconditionFailedError(f"{primary} is the primary itself")
        seen = await guard.claims.store.read()
        if seen.record is None or seen.record.holder != primary:
            holder = "nobody" if seen.record is None else seen.record.holder
            raise RejectedError(f"{primary!r} does not hold the lease of {guard.cluster}, {holder!r} does")
        while not await self._follows(primary):
            await guard.reconcile()
            if guard.rejoining():
                return {"member": guard.member, "state": "rejoining"}
            await asyncio.sleep(_RECONCILE_POLL_S)
        return {"member": guard.member, "state": "streaming"}

    async def _follows(self, primary: str) -> bool:
        guard = self._guard
        view = await guard.observer.look()
        if view is None or not view.in_recovery or view.upstream != "streaming":
            return False
        return guard.upstream() == guard.address_of(primary)

    def _require_primary(self) -> None:
        if not self._guard.leadership.may_write():
            raise RejectedError(f"{self._guard.member} does not hold the lease of {self._guard.cluster}")


def _text(order: Order, name: str, default: str = "") -> str:
    value = order.params.get(name, default)
    if not isinstance(value, str) or not value:
        raise RejectedError(f"params.{name} is {value!r}; expected a text")
    return value


def _measured(perform: Callable[[Order], Awaitable[JsonObject]]) -> Callable[[Order], Awaitable[ActionResult]]:
    async def handler(order: Order) -> ActionResult:
        outcome = "failed"
        started = time.monotonic()
        try:
            result = await perform(order)
            outcome = "succeeded"
        except RejectedError:
            outcome = "refused"
            raise
        finally:
            metrics.ORDERS.labels(order.action, outcome).inc()
            metrics.ORDER_SECONDS.labels(order.action).observe(time.monotonic() - started)
        return ActionResult(result=result)

    return handler

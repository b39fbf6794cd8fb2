"""Finds out what becomes of one order: gives it, asks for it, gives it again, withdraws it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from yaoki.epoch import Epoch
from yaoki.errors import ErrorCode, StaleEpochError, TransientError, YaokiError
from yaoki.plans import Effect, Order, Outcome, OutcomeStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yaoki.clock import Clock
    from yaoki.runs.ports import Worker

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class StaleOrderError(StaleEpochError):
    """A worker has obeyed a higher epoch for the resource.

    Attributes:
        known: The highest that the worker knows.
    """

    def __init__(self, message: str, *, known: Epoch) -> None:
        super().__init__(message)
        self.known = known


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long the carrier waits.

    Attributes:
        grace_s: After an order expired its worker's answer is still waited for, seconds.
        cancel_s: How long an acknowledgement of a cancellation is tried for, seconds.
        call_s: One question to a worker, seconds.
    """

    grace_s: float = 1.0
    cancel_s: float = 2.0
    call_s: float = 10.0


class Carrier:
    """Carries orders of one worker.

    An answer that does not come is never taken for "not done": the outcome is UNKNOWN until the worker says
    otherwise, and the same order is sent again only while that is harmless.
    """

    def __init__(self, worker: Worker, clock: Clock, patience: Patience) -> None:
        self._worker = worker
        self._clock = clock
        self._patience = patience

    async def carry(self, order: Order, *, fresh: bool) -> Outcome:
        """The outcome of an order; UNKNOWN when it cannot be had in time.

        Args:
            order: With the leader's present epoch.
            fresh: It has never been sent. Otherwise the worker is asked first.

        Raises:
            StaleOrderError: The worker refuses this leader.
        """
        pause = _FIRST_PAUSE_S
        send = fresh
        while True:
            reply = await (self._perform(order) if send else self._ask(order))
            if reply is not None and reply.status.final:
                return reply
            if self._clock.now() >= order.expires_at:
                if reply is None or self._over(order):
                    return await self.withdraw(order)
                send = False
            else:
                # Never heard of, or begun by somebody who is gone: sending it again does it at most once more.
                repeat = reply is not None and reply.status is OutcomeStatus.UNKNOWN
                send = reply is None or (repeat and order.effect is Effect.IDEMPOTENT)
                if repeat and not send:
                    return reply or unknown(order, "")
            if not (send and reply is None):
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def withdraw(self, order: Order) -> Outcome:
        """Have the worker acknowledge that the order never begins; its outcome when it has begun.

        UNKNOWN when the worker cannot be reached or has not finished in time.
        """
        until = self._clock.now() + timedelta(seconds=self._patience.cancel_s)
        pause = _FIRST_PAUSE_S
        while True:
            reply = await self.cancel(order)
            if reply is not None and reply.status is not OutcomeStatus.RUNNING:
                return reply
            now = self._clock.now()
            if now >= until and (reply is None or self._over(order)):
                break
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        why = "the worker cannot be reached" if reply is None else "the worker has not finished"
        return unknown(order, f"{why} and the order's time is over")

    async def cancel(self, order: Order) -> Outcome | None:
        """One cancellation; None when it was not acknowledged."""
        reply = await self._call(self._worker.cancel, order, self._patience.call_s)
        if reply is not None and reply.status is OutcomeStatus.CANCELLED and self._clock.now() >= order.expires_at:
            return msgspec.structs.replace(
                reply, error_code=ErrorCode.EXPIRED, error="the order expired before it could begin"
            )
        return reply

    async def late(self, order: Order) -> Outcome | None:
        """The outcome of an order that was given up, if the worker knows it by now."""
        try:
            reply = await self._call(self._worker.ask, order, self._patience.call_s)
        except StaleOrderError:
            return None
        return reply if reply is not None and reply.status.final else None

    def _over(self, order: Order) -> bool:
        return self._clock.now() >= order.expires_at + timedelta(seconds=self._patience.grace_s)

    async def _perform(self, order: Order) -> Outcome:
        left = (order.expires_at - self._clock.now()).total_seconds() + self._patience.grace_s
        reply = await self._call(self._worker.perform, order, max(left, self._patience.grace_s))
        return reply or _running(order)

    async def _ask(self, order: Order) -> Outcome | None:
        answered = False

        async def ask(order: Order) -> Outcome | None:
            nonlocal answered
            reply = await self._worker.ask(order)
            answered = True
            return reply

        reply = await self._call(ask, order, self._patience.call_s)
        return reply if answered else _running(order)

    async def _call(
        self, call: Callable[[Order], Awaitable[Outcome | None]], order: Order, limit_s: float
    ) -> Outcome | None:
        try:
            async with asyncio.timeout(limit_s):
                reply = await call(order)
        except (TransientError, TimeoutError):
            return None
        except YaokiError as error:
            reply = Outcome(
                command_id=order.command_id,
                status=OutcomeStatus.REFUSED,
                error_code=error.code,
                error=error.message,
            )
        _raise_if_stale(order, reply)
        return reply


def unknown(order: Order, why: str) -> Outcome:
    """Nobody can tell what became of the order."""
    return Outcome(command_id=order.command_id, status=OutcomeStatus.UNKNOWN, error_code=ErrorCode.TIMEOUT, error=why)


def stale(order: Order, known: Epoch) -> Outcome:
    """A worker's refusal of an order from a leader that has been replaced."""
    return Outcome(
        command_id=order.command_id,
        status=OutcomeStatus.REFUSED,
        error_code=ErrorCode.STALE_EPOCH,
        error=f"epoch {order.epoch} of the order is below {known}, which was obeyed for {order.resource!r} already",
        result={"known": [known.incarnation, known.counter]},
    )


def _running(order: Order) -> Outcome:
    """No answer is treated like work in progress: ask again."""
    return Outcome(command_id=order.command_id, status=OutcomeStatus.RUNNING)


def _raise_if_stale(order: Order, reply: Outcome | None) -> None:
    if reply is None or reply.status is not OutcomeStatus.REFUSED or reply.error_code != ErrorCode.STALE_EPOCH:
        return
    known = msgspec.convert(reply.result.get("known", [order.epoch.incarnation, order.epoch.counter]), Epoch)
    raise StaleOrderError(reply.error, known=known)

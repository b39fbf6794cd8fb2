"""What workers are made of: actions, and how what a handler does becomes an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import structlog

from yaoki.errors import ErrorCode, RejectedError, YaokiError
from yaoki.plans import Effect, JsonObject, Order, Outcome, OutcomeStatus
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

if TYPE_CHECKING:
    from yaoki.clock import Clock

_log = structlog.get_logger("yaoki.runs")


class ActionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an action answers; later steps refer to its fields."""

    result: JsonObject = {}


Handler = Callable[[Order], Awaitable[ActionResult]]
Observer = Callable[[Order], Awaitable[ActionResult | None]]


class Action(msgspec.Struct, frozen=True):
    """A handler, and for `Effect.OBSERVABLE` how to see whether it happened.

    A handler does its effect once for each call; it is cancelled when the order expires and must then stop.
    How it ends decides the outcome: returning is SUCCEEDED, `PreconditionFailedError` SKIPPED, `RejectedError`
    REFUSED (in both nothing was done), `ActionFailedError` FAILED. Anything else leaves open what was done: FAILED
    when the effect is idempotent, so that it may be tried again, else UNKNOWN.

    Attributes:
        handler: Carries the order out.
        observe: Looks whether an order of unknown outcome happened: its result, or None when it did not.
    """

    handler: Handler
    observe: Observer | None = None


Actions = Mapping[str, Handler | Action]


def find_action(actions: Actions, name: str) -> Action | None:
    """The action of this name, in its full form."""
    found = actions.get(name)
    return Action(found) if callable(found) else found


def unknown_action(actions: Actions, order: Order) -> Outcome:
    """The refusal of an order for an action that nobody here knows."""
    known = ", ".join(sorted(actions)) or "none"
    return refused(
        order.command_id, ErrorCode.NOT_FOUND, f"there is no action {order.action!r} here; known are: {known}"
    )


def refused(command_id: str, code: ErrorCode, message: str) -> Outcome:
    """Nothing was done, and why."""
    return Outcome(command_id=command_id, status=OutcomeStatus.REFUSED, error_code=code, error=message)


def expired(order: Order, clock: Clock) -> Outcome | None:
    """The refusal of an order that arrives after its time; None while it may begin."""
    now = clock.now()
    if now < order.expires_at:
        return None
    late = (now - order.expires_at).total_seconds()
    return refused(
        order.command_id, ErrorCode.EXPIRED, f"the order expired {late:.3f} s before it could begin; nothing was done"
    )


async def carry_out(action: Action, order: Order, clock: Clock) -> Outcome:
    """Run the handler until the order expires; never raises but for cancellation."""
    left = max((order.expires_at - clock.now()).total_seconds(), 0.0)
    try:
        async with asyncio.timeout(left):
            answer = await action.handler(order)
    except YaokiError as error:
        return _outcome(order, _status_of(error, order), error.code, error.message)
    except TimeoutError:
        return _outcome(
            order, _uncertain(order), ErrorCode.TIMEOUT, f"{order.action} was not finished when its order expired"
        )
    except Exception:  # noqa: BLE001 - an action may raise anything; the run goes on with its outcome
        reference = uuid4().hex[:12]
        _log.exception("action failed", action=order.action, command=order.command_id, reference=reference)
        return _outcome(
            order,
            _uncertain(order),
            ErrorCode.INTERNAL,
            f"internal error in {order.action}; see the worker's log, reference {reference}",
        )
    return Outcome(command_id=order.command_id, status=OutcomeStatus.SUCCEEDED, result=answer.result)


def _status_of(error: YaokiError, order: Order) -> OutcomeStatus:
    match error:
        case PreconditionFailedError():
            return OutcomeStatus.SKIPPED
        case RejectedError():
            return OutcomeStatus.REFUSED
        case ActionFailedError():
            return OutcomeStatus.FAILED
        case _:
            return _uncertain(order)


async def look(action: Action, order: Order) -> Outcome:
    """What became of an order whose performer is gone, by the action's own observation if it has one."""
    if action.observe is None:
        return lost(order)
    try:
        seen = await action.observe(order)
    except YaokiError as error:
        return _outcome(order, OutcomeStatus.UNKNOWN, error.code, error.message)
    except Exception:  # noqa: BLE001 - as in `carry_out`
        _log.exception("observation failed", action=order.action, command=order.command_id)
        return lost(order)
    if seen is None:
        return _outcome(
            order, OutcomeStatus.FAILED, ErrorCode.FAILED, f"{order.action} began and was seen not to have happened"
        )
    return Outcome(command_id=order.command_id, status=OutcomeStatus.SUCCEEDED, result=seen.result)


def lost(order: Order) -> Outcome:
    """An order had begun, and nobody can see how far it came."""
    return _outcome(
        order,
        OutcomeStatus.UNKNOWN,
        ErrorCode.UNAVAILABLE,
        f"{order.action} had begun when its performer was lost; nobody can tell how far it came",
    )


def _uncertain(order: Order) -> OutcomeStatus:
    return OutcomeStatus.FAILED if order.effect is Effect.IDEMPOTENT else OutcomeStatus.UNKNOWN


def _outcome(order: Order, status: OutcomeStatus, code: ErrorCode, message: str) -> Outcome:
    return Outcome(command_id=order.command_id, status=status, error_code=code, error=message)

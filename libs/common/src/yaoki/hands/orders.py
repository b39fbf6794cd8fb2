"""Hands as actions of a worker: decoding, dry runs, repeats and metrics, once for all of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from yaoki.errors import RejectedError, TransientError, YaokiError
from yaoki.hands import metrics
from yaoki.runs.actions import Action, ActionResult
from yaoki.runs.errors import PreconditionFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from yaoki.hands.port import AnyHand
    from yaoki.plans import JsonObject, Order

_DRY_RUN = "dry_run"
_BEFORE = "before"


def hand_actions(hands: Iterable[AnyHand]) -> dict[str, Action]:
    """Actions by name. Beside its own parameters each takes two.

    `dry_run`: only look; the result says `would`, `before` and `facts`. `before`: of such a result; if the world has
    changed from it as the order would have it, the result says `already` and nothing is done.
    """
    return {hand.name: _action(hand) for hand in hands}


def _action(hand: AnyHand) -> Action:
    async def perform(order: Order) -> ActionResult:
        started, outcome = time.monotonic(), "failed"
        try:
            result, outcome = await _perform(hand, order)
        except YaokiError as error:
            outcome = _outcome(error)
            raise
        finally:
            metrics.ORDERS.labels(hand.name, outcome).inc()
            metrics.SECONDS.labels(hand.name).observe(time.monotonic() - started)
        return ActionResult(result=result)

    async def observe(order: Order) -> ActionResult | None:
        params, _, before = _params(hand, order)
        seen = None if before is None else hand.happened(params, before, await hand.look(params))
        if seen is None or before is None:
            raise TransientError(f"nobody can see whether {hand.name} has happened")
        return ActionResult(result=_already(before)) if seen else None

    return Action(perform, observe)


async def _perform(hand: AnyHand, order: Order) -> tuple[JsonObject, str]:
    params, dry_run, before = _params(hand, order)
    seen = await hand.look(params)
    if before is not None and not dry_run:
        if hand.happened(params, before, seen):
            return _already(before), "already"
        seen = msgspec.structs.replace(seen, before=before)
    if seen.idle:
        raise PreconditionFailedError(seen.idle)
    if dry_run:
        return msgspec.to_builtins(seen), "looked"
    done = await hand.act(params, seen, order.command_id)
    return {**msgspec.to_builtins(done), "already": False}, "done"


def _already(before: JsonObject) -> JsonObject:
    return {"already": True, "before": before}


def _params(hand: AnyHand, order: Order) -> tuple[msgspec.Struct, bool, JsonObject | None]:
    own: dict[str, Any] = dict(order.params)
    dry_run, before = own.pop(_DRY_RUN, False), own.pop(_BEFORE, None)
    if not isinstance(dry_run, bool):
        raise RejectedError(f"params.{_DRY_RUN} of {hand.name} is {dry_run!r}; expected true or false")
    if before is not None and not isinstance(before, dict):
        raise RejectedError(f"params.{_BEFORE} of {hand.name} is {before!r}; expected what a dry run said")
    try:
        return msgspec.convert(own, hand.params), dry_run, before
    except msgspec.ValidationError as error:
        known = ", ".join(hand.params.__struct_fields__)
        raise RejectedError(f"params of {hand.name}: {error}; there are: {known or 'none'}") from None


def _outcome(error: YaokiError) -> str:
    if isinstance(error, PreconditionFailedError):
        return "skipped"
    return "refused" if isinstance(error, RejectedError) else "failed"

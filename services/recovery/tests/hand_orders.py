"""Orders to a hand of this service, through its worker, as the run executor gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from yaoki.hands import hand_actions
from yaoki.plans import Effect, Order, Outcome, OutcomeStatus
from yaoki.runs import DurableWorker, OrderTable
from yaoki.testing import InMemoryKeyValue

from .builders import order

if TYPE_CHECKING:
    from yaoki.hands import AnyHand
    from yaoki.plans import JsonObject


class Service:
    """One instance with one hand; `reborn` is another one with the same tables."""

    def __init__(self, hand: AnyHand, bucket: InMemoryKeyValue | None = None) -> None:
        self.hand = hand
        self._bucket = bucket or InMemoryKeyValue()
        self.table = OrderTable(self._bucket, worker="recovery-hands", instance="recovery-1")
        self.worker = DurableWorker(hand_actions([hand]), self.table)

    def reborn(self) -> Service:
        """Another process."""
        return Service(self.hand, self._bucket)

    def order(self, params: JsonObject, *, effect: Effect = Effect.IDEMPOTENT, command_id: str = "") -> Order:
        """An order with an identity of its own, unless it is a repeat."""
        return order(
            self.hand.name,
            params,
            command_id=command_id or uuid4().hex,
            effect=effect,
            expires_at=datetime.now(UTC) + timedelta(seconds=60),
        )

    async def carry_out(self, order: Order) -> Outcome:
        """Give the order again until it is finished."""
        while (outcome := await self.worker.perform(order)).status is OutcomeStatus.RUNNING:
            pass
        return outcome

    async def perform(self, **params: Any) -> Outcome:
        """Order it and wait for the outcome."""
        return await self.carry_out(self.order(params))

    async def look(self, **params: Any) -> JsonObject:
        """A dry run that has to succeed."""
        return succeeded(await self.perform(**params, dry_run=True))


def succeeded(outcome: Outcome) -> JsonObject:
    """The result of an order that has to have succeeded."""
    assert outcome.status is OutcomeStatus.SUCCEEDED, outcome.error
    return outcome.result

"""Orders to a hand as its agent gets them, through the agent's worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from yaoki.epoch import Epoch
from yaoki.hands import hand_actions
from yaoki.plans import Effect, Order, Outcome, OutcomeStatus, Phase
from yaoki.runs import DurableWorker, OrderTable
from yaoki.testing import InMemoryKeyValue

if TYPE_CHECKING:
    from yaoki.hands import AnyHand
    from yaoki.plans import JsonObject


class Agent:
    """One agent with one hand. `reborn` is the agent after its process died."""

    def __init__(self, hand: AnyHand, bucket: InMemoryKeyValue | None = None) -> None:
        self.hand = hand
        self._bucket = bucket or InMemoryKeyValue()
        table = OrderTable(self._bucket, worker="agent-web1", instance="agent-web1")
        self.worker = DurableWorker(hand_actions([hand]), table)

    def reborn(self) -> Agent:
        """Another process with the same memory on disk."""
        return Agent(self.hand, self._bucket)

    def order(self, params: JsonObject, *, effect: Effect = Effect.IDEMPOTENT, within_s: float = 60.0) -> Order:
        """An order with an identity of its own."""
        return Order(
            command_id=uuid4().hex,
            run_kind="recovery",
            run_id="run-1",
            resource="orders-api",
            step="act",
            phase=Phase.DO,
            action=self.hand.name,
            params=params,
            epoch=Epoch(1, 1),
            expires_at=datetime.now(UTC) + timedelta(seconds=within_s),
            effect=effect,
        )

    async def carry_out(self, order: Order) -> Outcome:
        """Give the order again until it is finished, as the run executor does."""
        while (outcome := await self.worker.perform(order)).status is OutcomeStatus.RUNNING:
            pass
        return outcome

    async def perform(self, **params: Any) -> Outcome:
        """Order it and wait for the outcome."""
        return await self.carry_out(self.order(params))

    async def look(self, **params: Any) -> JsonObject:
        """A dry run that has to succeed."""
        outcome = await self.perform(**params, dry_run=True)
        assert outcome.status is OutcomeStatus.SUCCEEDED, outcome.error
        return outcome.result


def succeeded(outcome: Outcome) -> JsonObject:
    """The result of an order that has to have succeeded."""
    assert outcome.status is OutcomeStatus.SUCCEEDED, outcome.error
    return outcome.result

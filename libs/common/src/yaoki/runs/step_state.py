"""What a run's journal amounts to for one step: its orders and what people decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from yaoki.errors import ErrorCode
from yaoki.plans import JsonObject, OutcomeStatus, Phase

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.events.runs import StepStarted

_NEVER_BEGAN = frozenset({OutcomeStatus.REFUSED, OutcomeStatus.CANCELLED})
_NO_FAULT_OF_ITS_OWN = frozenset({ErrorCode.EXPIRED, ErrorCode.CANCELLED})


class OrderState(msgspec.Struct, kw_only=True):
    """One order: its intent and what became of it.

    Attributes:
        status: None while the intent has no outcome.
        settled: No reply can change the status any more.
        ended_at: When its outcome was recorded.
        changed: Sequence of the entry that told the status last.
        takeovers: Leaders that took the run over after the intent, while there was no outcome.
    """

    intent: StepStarted
    started_at: datetime
    status: OutcomeStatus | None = None
    settled: bool = False
    result: JsonObject = {}
    error_code: str = ""
    error: str = ""
    duration_s: float = 0.0
    ended_at: datetime | None = None
    changed: int = 0
    takeovers: int = 0

    @property
    def open(self) -> bool:
        """An intent without an outcome."""
        return self.status is None

    @property
    def began(self) -> bool:
        """False for an order that is known never to have begun, through no fault of the step."""
        return not (self.status in _NEVER_BEGAN and self.error_code in _NO_FAULT_OF_ITS_OWN)

    @property
    def effective(self) -> bool:
        """It may have changed something."""
        return self.status is not None and self.status.effective

    @property
    def worked(self) -> bool:
        """It succeeded, or there was nothing to do."""
        return self.status in (OutcomeStatus.SUCCEEDED, OutcomeStatus.SKIPPED)


class StepState(msgspec.Struct, kw_only=True):
    """What happened to one step.

    Attributes:
        skipped: A person decided to go on without it.
        done_by_hand: A person did it; `hand_result` is its result.
        granted: Attempts that people granted beyond the plan's.
    """

    do: list[OrderState] = []
    verify: list[OrderState] = []
    undo: list[OrderState] = []
    skipped: bool = False
    done_by_hand: bool = False
    hand_result: JsonObject = {}
    granted: int = 0

    def orders(self, phase: Phase) -> list[OrderState]:
        """The orders of one phase, oldest first."""
        if phase is Phase.DO:
            return self.do
        return self.verify if phase is Phase.VERIFY else self.undo

    @property
    def accepted(self) -> OrderState | None:
        """The order that counts: the last, or an earlier one that turned out later to have succeeded."""
        for order in reversed(self.do):
            if order.status is OutcomeStatus.SUCCEEDED and not self._disproved(order):
                return order
        return self.do[-1] if self.do else None

    def verification(self, order: OrderState) -> OrderState | None:
        """The check that was ordered after this attempt."""
        attempt = order.intent.attempt
        return next((check for check in reversed(self.verify) if check.intent.attempt == attempt), None)

    def _disproved(self, order: OrderState) -> bool:
        check = self.verification(order)
        return check is not None and check.status not in (None, OutcomeStatus.SUCCEEDED)

    @property
    def effective(self) -> bool:
        """Something may have been changed."""
        return self.done_by_hand or any(order.effective for order in self.do)

    @property
    def last_effect(self) -> int:
        """Sequence of the entry that told last of an effect; 0 for none."""
        return max((order.changed for order in self.do if order.effective), default=0)

    @property
    def undone(self) -> bool:
        """A compensation worked after the last that was heard of an effect."""
        last_effect = self.last_effect
        return any(order.worked and order.changed > last_effect for order in self.undo)

    @property
    def result(self) -> JsonObject | None:
        """What later steps may refer to; None while there is nothing."""
        if self.done_by_hand:
            return self.hand_result
        accepted = self.accepted
        if accepted is None or accepted.status is not OutcomeStatus.SUCCEEDED:
            return None
        return accepted.result

    @property
    def unsettled(self) -> list[OrderState]:
        """Orders whose outcome is unknown and for which the worker has not yet excluded a late beginning."""
        return [order for order in self.do if order.status is OutcomeStatus.UNKNOWN and not order.settled]

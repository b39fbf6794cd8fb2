"""Orders, as an executor gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from yaoki.epoch import Epoch
from yaoki.plans import Effect, Order, Phase


def order(*, expires_s: float = 30.0, epoch: int = 5, effect: Effect = Effect.IDEMPOTENT, **more: Any) -> Order:
    """A new order, to be carried out within `expires_s` seconds."""
    values: dict[str, Any] = {
        "command_id": f"run-1.only.a.do.{uuid4().hex}",
        "run_kind": "recovery",
        "run_id": "run-1",
        "resource": f"resource-{uuid4().hex}",
        "step": "a",
        "phase": Phase.DO,
        "action": "act",
        "params": {},
    }
    return Order(
        **values | more,
        epoch=Epoch(1, epoch),
        expires_at=datetime.now(UTC) + timedelta(seconds=expires_s),
        effect=effect,
    )

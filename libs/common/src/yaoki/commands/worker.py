"""What every worker of durable runs is asked: `api.<worker>.perform|ask|cancel`."""

from typing import ClassVar

import msgspec

from yaoki.commands.base import Request
from yaoki.plans import Order, Outcome


class OrderReply(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome; None when the worker has never heard of the order (`ask` only)."""

    outcome: Outcome | None


class PerformOrder(Request, frozen=True, kw_only=True):
    """Carry an order of a run out once."""

    verb: ClassVar[str] = "perform"
    reply: ClassVar[type[msgspec.Struct]] = OrderReply

    order: Order


class AskOrder(Request, frozen=True, kw_only=True):
    """What became of an order."""

    verb: ClassVar[str] = "ask"
    reply: ClassVar[type[msgspec.Struct]] = OrderReply

    order: Order


class CancelOrder(Request, frozen=True, kw_only=True):
    """Make sure that an order never begins from now on."""

    verb: ClassVar[str] = "cancel"
    reply: ClassVar[type[msgspec.Struct]] = OrderReply

    order: Order

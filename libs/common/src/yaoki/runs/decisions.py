"""What a run may need next: the answers of `yaoki.runs.decide`."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time

import msgspec

from yaoki.events.runs import Ending  # noqa: TC001 - as above
from yaoki.plans import Call, Phase  # noqa: TC001 - as above
from yaoki.runs.step_state import OrderState  # noqa: TC001 - as above


class StartOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Write the intent, then give the order.

    Attributes:
        number: Of the order within step and phase, 1 for the first: what makes the command id.
        attempt: Attempt of the step; a verification carries that of the order it verifies.
        timeout_s: Until the order expires, seconds.
        settle: Orders of unknown outcome that must never begin from now on: each worker acknowledges that
            before this order is given.
    """

    branch: str
    step: str
    phase: Phase
    number: int
    attempt: int
    call: Call
    timeout_s: float
    settle: tuple[OrderState, ...] = ()


class CarryOn(msgspec.Struct, frozen=True, kw_only=True):
    """An intent has no outcome yet: find out what became of it, order it again if it never arrived.

    Attributes:
        withdraw: Have it cancelled if it has not begun.
        settle: As for `StartOrder`.
    """

    order: OrderState
    withdraw: bool = False
    settle: tuple[OrderState, ...] = ()


class WaitUntil(msgspec.Struct, frozen=True, kw_only=True):
    """Decide again at this moment, UTC."""

    at: datetime


class WaitForPerson(msgspec.Struct, frozen=True, kw_only=True):
    """The run is paused."""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Why disruptive branches of a run must not begin now.

    Attributes:
        name: Identity of what holds them; the same as long as it is the same.
        reason: One sentence for people.
        until: When it is expected to end, UTC; None when nobody knows.
    """

    name: str
    reason: str
    until: datetime | None = None


class Defer(msgspec.Struct, frozen=True, kw_only=True):
    """Write down that a branch is put off, and try the others first."""

    branch: str
    hold: Hold


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Only a person can decide."""

    reason: str
    step: str


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The run is over."""

    ending: Ending
    reason: str


Decision = StartOrder | CarryOn | WaitUntil | WaitForPerson | Defer | Pause | Finish

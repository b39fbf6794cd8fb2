"""The epoch that fences orders of leaders that have been replaced."""

from __future__ import annotations

import msgspec
from typing_extensions import override


class Epoch(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Totally ordered age of an order; a worker refuses every order below the highest it has obeyed.

    Attributes:
        incarnation: Unix milliseconds at which this control plane's event stream was created. An emptied
            NATS therefore starts above everything that agents have seen before.
        counter: Sequence of the `LeaseTaken` event in the event stream: one number line for all runs, so that
            a later run on the same resource is above an earlier one.

    On the wire it is a pair, `[incarnation, counter]`.
    """

    incarnation: int
    counter: int

    @override
    def __str__(self) -> str:
        return f"{self.incarnation}.{self.counter}"


NO_EPOCH = Epoch(0, 0)

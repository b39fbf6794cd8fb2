"""What the run executor needs from the world, as contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from yaoki.events.runs import RunEvent  # noqa: TC001 - msgspec reads the annotation at run time

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.plans import Order, Outcome


class Worker(Protocol):
    """Somebody who carries out orders: an agent or service over NATS, or this process itself.

    All three methods may be called any number of times for one command id, from several executors at once.
    A TransientError from any of them means that the outcome is unknown, never that nothing happened.
    """

    async def perform(self, order: Order) -> Outcome:
        """Carry the order out once and return its outcome; a repeat returns the stored outcome.

        May return RUNNING; the executor then asks until the order's deadline.
        """
        ...

    async def ask(self, order: Order) -> Outcome | None:
        """What became of the order; None when this worker has never heard of it."""
        ...

    async def cancel(self, order: Order) -> Outcome:
        """Make sure that the order never begins from now on, and acknowledge it.

        Returns CANCELLED when it had not begun, its outcome when it is finished, RUNNING while it runs.
        """
        ...


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A journal entry as it stands in the stream.

    Attributes:
        event: The entry.
        id: Identity of the message, chosen by its writer.
        sequence: Position in the event stream; the last one is what the next append is checked against.
        at: When it was stored, UTC: by the server's clock when it was read, by its writer's when just appended.
    """

    event: RunEvent
    id: str
    sequence: int
    at: datetime


class Journal(Protocol):
    """Append-only history of runs with compare-and-set."""

    async def append(self, event: RunEvent, *, after: int, event_id: str) -> Recorded:
        """Append if the run's last entry has sequence `after` (0: the run has none).

        Ambiguous acknowledgements are resolved inside: when this returns, the entry is stored; a repeat with the
        same `event_id` returns the stored entry.

        Raises:
            ConflictError: Somebody else appended first; nothing was written.
            TransientError: Could not be settled in time; it may still be stored later.
        """
        ...

    async def load(self, run_kind: str, run_id: str, *, after: int = 0) -> list[Recorded]:
        """The entries above sequence `after` in order; empty when there are none.

        Raises:
            TransientError: The journal cannot be read now. Never an empty list instead.
            JournalDamagedError: An entry is missing or cannot be read.
            JournalFromFutureError: A newer version of Yaoki wrote an entry that this one does not know.
        """
        ...

    async def incarnation(self) -> int:
        """Age of the control plane: see `Epoch.incarnation`."""
        ...

"""What tests look at: the letters in DLQ, a recording handler."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

from nats.js.errors import NotFoundError

if TYPE_CHECKING:
    from nats.js.api import RawStreamMsg
    from yaoki.messaging import Envelope, Messaging

T = TypeVar("T")


class Recorder(Generic[T]):
    """A handler that remembers its calls and raises what it is told to.

    Attributes:
        calls: What arrived, with envelope and the monotonic time of the call.
    """

    def __init__(self, *errors: Exception | None, always: Exception | None = None) -> None:
        self.calls: list[tuple[T, Envelope, float]] = []
        self._errors = list(errors)
        self._always = always

    async def __call__(self, message: T, envelope: Envelope) -> None:
        """Record, then raise the next error if there is one."""
        self.calls.append((message, envelope, time.monotonic()))
        error = self._errors.pop(0) if self._errors else self._always
        if error is not None:
            raise error

    @property
    def gaps(self) -> list[float]:
        """Seconds between consecutive calls."""
        times = [at for _, _, at in self.calls]
        return [later - earlier for earlier, later in pairwise(times)]


async def stream_messages(messaging: Messaging, stream: str) -> list[RawStreamMsg]:
    """Everything that lies in a stream now."""
    info = await messaging.jetstream.stream_info(stream)
    found = []
    for sequence in range(max(1, info.state.first_seq), info.state.last_seq + 1):
        try:
            found.append(await messaging.jetstream.get_msg(stream, seq=sequence))
        except NotFoundError:
            continue
    return found


async def letters(messaging: Messaging) -> list[RawStreamMsg]:
    """Everything in DLQ."""
    return await stream_messages(messaging, "DLQ")


async def unsettled(messaging: Messaging, stream: str, durable: str) -> int:
    """Messages that the consumer has not settled: waiting, delivered, or to be delivered again."""
    info = await messaging.jetstream.consumer_info(stream, durable)
    return (info.num_pending or 0) + (info.num_ack_pending or 0)

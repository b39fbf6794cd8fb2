"""What a worker remembers, durably and shared by its instances: orders with their outcomes, and epochs.

KV bucket `commands`: `<worker>.order.<command id>` and `<worker>.epoch.<resource>`. An order is written down before its
effect begins; what is written is kept for longer than any run takes, so that a repeat is answered and not performed.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from yaoki.clock import Clock, SystemClock
from yaoki.epoch import NO_EPOCH, Epoch
from yaoki.errors import ConflictError, ErrorCode
from yaoki.plans import Order, Outcome, OutcomeStatus

if TYPE_CHECKING:
    from yaoki.messaging.ports import Entry, KeyValue

BUCKET = "commands"
KEEP_S = 90 * 24 * 3600.0


class OrderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Value of `<worker>.order.<command id>`.

    Attributes:
        performer: Instance that began it.
        boot: The life of that instance; another one of the same name has died.
        outcome: None while it is not finished.
        at: When this was written, UTC.
    """

    performer: str
    boot: str
    outcome: Outcome | None = None
    at: datetime


class Remembered(msgspec.Struct, frozen=True):
    """A record with the revision that a change is checked against."""

    record: OrderRecord
    revision: int


class OrderTable:
    """The tables of one worker.

    Args:
        kv: Bucket `commands`.
        worker: Name under which it is ordered.
        instance: Name of this process; at most one live process has it at a time.
    """

    def __init__(self, kv: KeyValue, worker: str, instance: str, *, clock: Clock | None = None) -> None:
        self.worker = worker
        self.instance = instance
        self.boot = uuid4().hex
        self._kv = kv
        self._clock = clock or SystemClock()

    async def find(self, command_id: str) -> Remembered | None:
        """What is known of an order; None when it was never begun or buried here."""
        entry = await self._kv.get(self._order_key(command_id))
        return None if entry is None else _remembered(entry)

    async def begin(self, order: Order) -> Remembered:
        """Write down that this process begins the order. Raises ConflictError when it is known already."""
        record = self._record(None)
        revision = await self._kv.create(self._order_key(order.command_id), _encode(record), ttl_s=KEEP_S)
        return Remembered(record, revision)

    async def take_over(self, order: Order, known: Remembered) -> Remembered:
        """Begin again what a dead process had begun. Raises ConflictError when somebody was faster."""
        return await self._update(order.command_id, self._record(None), known.revision)

    async def finish(self, outcome: Outcome, known: Remembered) -> Remembered:
        """Write the outcome down. Raises ConflictError when another process took the order over meanwhile."""
        return await self._update(outcome.command_id, self._record(outcome), known.revision)

    async def bury(self, order: Order) -> Remembered:
        """Make sure that the order never begins: a tombstone, unless something is known of it already."""
        tombstone = Outcome(
            command_id=order.command_id,
            status=OutcomeStatus.CANCELLED,
            error_code=ErrorCode.CANCELLED,
            error="cancelled before it began",
        )
        record = self._record(tombstone)
        while True:
            try:
                revision = await self._kv.create(self._order_key(order.command_id), _encode(record), ttl_s=KEEP_S)
            except ConflictError:
                known = await self.find(order.command_id)
                if known is not None:
                    return known
            else:
                return Remembered(record, revision)

    async def highest_epoch(self, resource: str) -> Epoch:
        """The highest epoch that this worker has obeyed for a resource."""
        entry = await self._kv.get(self._epoch_key(resource))
        return NO_EPOCH if entry is None else _epoch(entry)

    async def obey(self, resource: str, epoch: Epoch) -> Epoch:
        """Remember `epoch` unless a higher one is known; the highest then known.

        The order may be obeyed only if what is returned equals its epoch.
        """
        key = self._epoch_key(resource)
        value = msgspec.json.encode(epoch)
        while True:
            entry = await self._kv.get(key)
            try:
                if entry is None:
                    await self._kv.create(key, value)
                elif (known := _epoch(entry)) >= epoch:
                    return known
                else:
                    await self._kv.update(key, value, revision=entry.revision)
            except ConflictError:
                continue
            return epoch

    def _record(self, outcome: Outcome | None) -> OrderRecord:
        return OrderRecord(performer=self.instance, boot=self.boot, outcome=outcome, at=self._clock.now())

    async def _update(self, command_id: str, record: OrderRecord, revision: int) -> Remembered:
        key = self._order_key(command_id)
        return Remembered(record, await self._kv.update(key, _encode(record), revision=revision, ttl_s=KEEP_S))

    def _order_key(self, command_id: str) -> str:
        return f"{self.worker}.order.{command_id}"

    def _epoch_key(self, resource: str) -> str:
        return f"{self.worker}.epoch.{resource}"


def _encode(record: OrderRecord) -> bytes:
    return msgspec.json.encode(record)


def _remembered(entry: Entry) -> Remembered:
    return Remembered(msgspec.json.decode(entry.value or b"", type=OrderRecord), entry.revision)


def _epoch(entry: Entry) -> Epoch:
    return msgspec.json.decode(entry.value or b"", type=Epoch)

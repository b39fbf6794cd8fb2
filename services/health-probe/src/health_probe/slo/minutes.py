"""One target's ledger of one UTC day: two bits a minute, planned maintenance beside them.

What was seen and what was planned are kept apart, so that both the raw and the adjusted figures can be told for
ever: a minute of maintenance still says whether the target answered.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from health_probe.slo.moments import DAY_MINUTES, Period
from health_probe.slo.responses import Responses, Slots

_PER_BYTE: Final = 4


class Seen(IntEnum):
    """What the ledger knows of a minute. NONE: outside of the contract, or not decided yet."""

    NONE = 0
    UP = 1
    DOWN = 2
    UNKNOWN = 3


class Count(IntEnum):
    """What a minute counts as. The order is that in which one target's minute decides its service's."""

    NONE = 0
    UP = 1
    MAINTENANCE = 2
    UNKNOWN = 3
    DOWN = 4


NAMES: Final = {Count.UP: "up", Count.DOWN: "down", Count.MAINTENANCE: "maintenance", Count.UNKNOWN: "unknown"}

_COUNT_AS: Final = bytes.maketrans(
    bytes([Seen.NONE, Seen.UP, Seen.DOWN, Seen.UNKNOWN]),
    bytes([Count.NONE, Count.UP, Count.DOWN, Count.UNKNOWN]),
)
_UNPACKED: Final = [bytes((value >> shift) & 3 for shift in (6, 4, 2, 0)) for value in range(256)]
_PACKED: Final = {codes: value for value, codes in enumerate(_UNPACKED)}


class StoredDay(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A day as it lies in JetStream, as MessagePack.

    Attributes:
        version: Of this layout.
        day: Days since 1970 UTC.
        through: Minutes of the day that are decided; those before are in `seen`.
        seen: 360 bytes, two bits a minute, first minute in the highest bits.
        planned: Runs of maintenance minutes, from and up to minute of the day.
        slots: Responses by quarter of an hour.
    """

    version: int = 1
    day: int
    through: int
    seen: bytes
    planned: tuple[tuple[int, int], ...] = ()
    slots: Slots = {}


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """A day unpacked: `seen` has one `Seen` for each minute.

    Invariant: `len(seen) == 1440`, and no minute at or behind `through` is anything but NONE.
    """

    day: int
    through: int = 0
    seen: bytes = bytes(DAY_MINUTES)
    planned: tuple[tuple[int, int], ...] = ()
    responses: Responses = Responses()

    @property
    def period(self) -> Period:
        """Its minutes."""
        return Period(self.day * DAY_MINUTES, (self.day + 1) * DAY_MINUTES)

    def decided(self, states: bytes, planned: list[int], responses: Responses) -> Day:
        """The day with the next minutes decided.

        Args:
            states: `Seen` of the minutes from `through` on.
            planned: Minutes of the day that are planned maintenance.
            responses: Measured in these minutes.
        """
        through = self.through + len(states)
        return msgspec.structs.replace(
            self,
            through=through,
            seen=self.seen[: self.through] + states + bytes(DAY_MINUTES - through),
            planned=_runs({*_minutes(self.planned), *planned}),
            responses=self.responses + responses,
        )

    def corrected(self, first: int, states: bytes) -> Day:
        """The day with decided minutes written over, from minute `first` of the day on."""
        end = first + len(states)
        if not 0 <= first <= end <= self.through:
            raise ValueError(f"minutes {first} to {end} are not all decided (through {self.through})")
        return msgspec.structs.replace(self, seen=self.seen[:first] + states + self.seen[end:])

    def counts(self) -> bytes:
        """A `Count` for each minute, planned maintenance counted as such."""
        counts = bytearray(self.raw_counts())
        for first, end in self.planned:
            counts[first:end] = bytes(Count.MAINTENANCE if seen else Count.NONE for seen in self.seen[first:end])
        return bytes(counts)

    def raw_counts(self) -> bytes:
        """A `Count` for each minute as it was seen."""
        return self.seen.translate(_COUNT_AS)


def encode(day: Day) -> bytes:
    """The day as it is stored."""
    packed = bytes(_PACKED[day.seen[at : at + _PER_BYTE]] for at in range(0, DAY_MINUTES, _PER_BYTE))
    stored = StoredDay(day=day.day, through=day.through, seen=packed, planned=day.planned, slots=day.responses.slots)
    return msgspec.msgpack.encode(stored)


def decode(value: bytes) -> Day:
    """The day that `encode` wrote.

    Raises:
        msgspec.MsgspecError: The value is none.
    """
    stored = _DECODER.decode(value)
    seen = b"".join([_UNPACKED[byte] for byte in stored.seen])
    return Day(
        day=stored.day,
        through=stored.through,
        seen=seen,
        planned=stored.planned,
        responses=Responses(stored.slots),
    )


_DECODER: Final = msgspec.msgpack.Decoder(StoredDay)


def _minutes(runs: tuple[tuple[int, int], ...]) -> list[int]:
    return [minute for first, end in runs for minute in range(first, end)]


def _runs(minutes: set[int]) -> tuple[tuple[int, int], ...]:
    runs: list[tuple[int, int]] = []
    for minute in sorted(minutes):
        if runs and runs[-1][1] == minute:
            runs[-1] = (runs[-1][0], minute + 1)
        else:
            runs.append((minute, minute + 1))
    return tuple(runs)

"""The ledger in the KV bucket `slo`: one entry for each target and UTC day, written by compare-and-set.

Two writers at once cost time and nothing else: each write is made from the day as it lies there, and a day knows how
far it is decided, so that no minute and no response is counted twice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

from health_probe.slo.minutes import Day, decode, encode
from health_probe.slo.moments import DAY_MINUTES, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yaoki.messaging.ports import KeyValue

    from health_probe.slo.moments import Period

T = TypeVar("T", bound=msgspec.Struct)

_READERS: Final = 32
_CACHED_DAYS: Final = 5
_FEW: Final = 8


class Ledger:
    """Reads and writes days.

    Args:
        slo: The bucket.
    """

    def __init__(self, slo: KeyValue) -> None:
        self._slo = slo
        self._cache: dict[tuple[str, int], tuple[Day, int]] = {}
        self._slots = asyncio.Semaphore(_READERS)

    async def day(self, target: str, day: int) -> Day | None:
        """A day as this instance wrote or read it last; None when there is none."""
        found, revision = await self._cached(target, day)
        return found if revision else None

    async def change(self, target: str, day: int, change: Callable[[Day], Day]) -> Day:
        """Write what `change` makes of the day as it lies there; an unchanged day is not written.

        Raises:
            ConflictError: Somebody else wrote it meanwhile. What was cached is dropped, so decide again.
            TransientError: Not acknowledged; likewise.
        """
        before, revision = await self._cached(target, day)
        after = change(before)
        if after == before:
            return before
        async with self._slots:
            try:
                self._cache[target, day] = (after, await self._write(target, after, revision))
            except BaseException:
                self._cache.pop((target, day), None)
                raise
        return after

    async def days(self, targets: Iterable[str], period: Period) -> dict[str, list[Day]]:
        """The days that the period touches as they lie there now, by target, in order; missing ones are left out."""
        numbers = range(period.first // DAY_MINUTES, -(-period.end // DAY_MINUTES))
        wanted = list(targets)
        days: dict[str, list[Day]] = {target: [] for target in wanted}
        for found in await asyncio.gather(*(self._of_day(wanted, number) for number in numbers)):
            for target, day in found.items():
                days[target].append(day)
        return days

    def forget(self, today: int) -> None:
        """Drop cached days that no alarm looks at any more."""
        self._cache = {key: found for key, found in self._cache.items() if key[1] > today - _CACHED_DAYS}

    def distrust(self) -> None:
        """Drop everything cached: somebody else has been the writer."""
        self._cache.clear()

    async def _of_day(self, targets: list[str], day: int) -> dict[str, Day]:
        if len(targets) <= _FEW:
            read = await asyncio.gather(*(self._read(target, day) for target in targets))
            return {target: found[0] for target, found in zip(targets, read, strict=True) if found}
        async with self._slots:
            entries = await self._slo.entries(f"{_prefix(day)}.")
        named = {entry.key.rpartition(".")[2]: entry.value for entry in entries}
        return {target: decode(value) for target in targets if (value := named.get(target)) is not None}

    async def _cached(self, target: str, day: int) -> tuple[Day, int]:
        """A day with its revision; 0 where there is none."""
        found = self._cache.get((target, day))
        if found is None:
            found = await self._read(target, day) or (Day(day=day), 0)
            self._cache[target, day] = found
        return found

    async def _read(self, target: str, day: int) -> tuple[Day, int] | None:
        async with self._slots:
            entry = await self._slo.get(key(target, day))
        return None if entry is None or entry.value is None else (decode(entry.value), entry.revision)

    async def _write(self, target: str, day: Day, revision: int) -> int:
        if revision:
            return await self._slo.update(key(target, day.day), encode(day), revision=revision)
        return await self._slo.create(key(target, day.day), encode(day))


def key(target: str, day: int) -> str:
    """Key of one day, e.g. `ledger.20261121.orders-api`."""
    return f"{_prefix(day)}.{target}"


def _prefix(day: int) -> str:
    return f"ledger.{moment(day * DAY_MINUTES):%Y%m%d}"


class Shelf(Generic[T]):
    """One small record in the bucket, written by compare-and-set.

    Args:
        slo: The bucket.
        name: Its key.
        kind: Its type, written as JSON.
    """

    def __init__(self, slo: KeyValue, name: str, kind: type[T]) -> None:
        self._slo = slo
        self._name = name
        self._kind = kind
        self._revision = 0

    async def read(self) -> T | None:
        """The record as it lies there; None when there is none."""
        entry = await self._slo.get(self._name)
        self._revision = 0 if entry is None else entry.revision
        return None if entry is None or entry.value is None else msgspec.json.decode(entry.value, type=self._kind)

    async def write(self, record: T) -> None:
        """Write over exactly what `read` or `write` saw last. Raises ConflictError when somebody else did."""
        value = msgspec.json.encode(record)
        if self._revision:
            self._revision = await self._slo.update(self._name, value, revision=self._revision)
        else:
            self._revision = await self._slo.create(self._name, value)

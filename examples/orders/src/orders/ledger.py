"""The load generator's memory of what was acknowledged, and the audit of a database against it."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from itertools import pairwise
from typing import TYPE_CHECKING, Self
from uuid import UUID  # noqa: TC003 - as above

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """One acknowledged write.

    Attributes:
        at: When the acknowledgement arrived, UTC.
        attempts: How often the order was sent.
        waited_s: From the first attempt to the acknowledgement, seconds.
    """

    key: UUID
    at: datetime
    attempts: int
    waited_s: float


class Ledger:
    """An append-only file of acknowledged writes, one JSON line each, flushed line by line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def record(self, entry: Acknowledged) -> None:
        """Write one line."""
        self._file.write(msgspec.json.encode(entry) + b"\n")


def read_ledger(path: Path) -> list[Acknowledged]:
    """All complete lines; a last line torn by a kill was never acknowledged to anybody and is left out."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=Acknowledged) for line in lines]


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which no write was acknowledged.

    Attributes:
        began: Last acknowledgement before it, UTC.
        ended: First acknowledgement after it, UTC.
    """

    began: datetime
    ended: datetime

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.ended - self.began).total_seconds()


def outages(entries: Iterable[Acknowledged], longer_than_s: float) -> list[Outage]:
    """Every gap between neighbouring acknowledgements that is longer than `longer_than_s` seconds."""
    times = sorted(entry.at for entry in entries)
    gaps = (Outage(began=before, ended=after) for before, after in pairwise(times))
    return [gap for gap in gaps if gap.seconds > longer_than_s]

"""What a tree of files contains, in numbers that a restored copy must show again."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from backup.manifest import Content

OWNERS: Final = "owners"
_WORD: Final = 1 << 128


class Tally:
    """Counts entries by kind and adds up the digests of what they are; the order does not matter."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._sums: dict[str, int] = {}

    def add(self, kind: str, name: str, *facts: object) -> None:
        """Count one entry of a kind with everything that has to come back."""
        record = b"\0".join([os.fsencode(name), *(os.fsencode(str(fact)) for fact in facts)])
        digest = int.from_bytes(hashlib.sha256(record).digest()[:16], "big")
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._sums[kind] = (self._sums.get(kind, 0) + digest) % _WORD

    def contents(self) -> tuple[Content, ...]:
        """By kind."""
        return tuple(
            Content(name=kind, rows=self._counts[kind], fingerprint=f"{self._sums[kind]:032x}")
            for kind in sorted(self._counts)
        )

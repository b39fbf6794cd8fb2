"""How a stream of unknown length is cut into parts and objects.

A multipart upload has at most 10,000 parts of at least 5 MiB. Parts grow with their number, so that small backups are
uploaded in parallel early and large ones need few objects; they stay small enough for a constant memory. A stream that
fills an object goes on in the next one: `data.000`, `data.001`, ...
"""

from __future__ import annotations

from typing import Final

MOST_PARTS: Final = 10_000
FIRST_PART: Final = 5 << 20
_GROWTH: Final = 1 << 20
_STEP: Final = 1_000


def part_size(number: int) -> int:
    """Least bytes of part `number` (from 1), unless it is the last."""
    return FIRST_PART + (number - 1) // _STEP * _GROWTH


def object_name(stream: str, index: int) -> str:
    """Name of the object with this index of a stream."""
    return f"{stream}.{index:03d}"

"""Keeps secrets out of the log: by the name of a field, and by the known values wherever they appear."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

REDACTED = "[redacted]"
SHORTEST_VALUE = 4
"""Shorter secrets are not searched for: they would blank out unrelated text."""

_NAMES = re.compile(
    r"passw(or)?d|secret|token|nkey|seed|credential|authorization|api[-_]?key|private[-_]?key", re.IGNORECASE
)
_DEEPEST = 6


class Redactor:
    """Takes secrets out of log records.

    Args:
        values: Secrets as they are. Searched for in the finished line, also as JSON, `repr`
            and URLs spell them.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        spellings = {spelling for value in values if len(value) >= SHORTEST_VALUE for spelling in _spellings(value)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def fields(self, record: dict[str, object]) -> dict[str, object]:
        """The record with the values of fields that are named like a secret replaced."""
        return {name: REDACTED if _named_secret(name, value) else _inside(value, 1) for name, value in record.items()}

    def text(self, line: str) -> str:
        """The finished line with known secrets replaced."""
        return line if self._values is None else self._values.sub(REDACTED, line)


def _named_secret(name: object, value: object) -> bool:
    return isinstance(name, str) and value is not None and bool(_NAMES.search(name))


def _inside(value: object, depth: int) -> object:
    if depth > _DEEPEST:
        return value
    if isinstance(value, dict):
        return {k: REDACTED if _named_secret(k, item) else _inside(item, depth + 1) for k, item in value.items()}
    if isinstance(value, list | tuple):
        return [_inside(item, depth + 1) for item in value]
    return value


def _spellings(value: str) -> set[str]:
    return {value, json.dumps(value)[1:-1], repr(value)[1:-1], quote(value, safe=""), quote(value)}

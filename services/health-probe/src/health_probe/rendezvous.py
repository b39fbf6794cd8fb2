"""Who does what among several, decided by everybody alone and alike: highest random weight. Pure.

Each name has a weight for each key, and the heaviest name takes it. Invariants: the choice depends on the set of names
only, not on their order or history; a name that leaves moves its own keys and no other; a name that comes takes about
its share of each other's keys and moves nothing else.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def chosen(key: str, names: Iterable[str]) -> str | None:
    """The name that takes `key`; None when there is none."""
    return max(names, key=lambda name: (_weight(key, name), name), default=None)


def _weight(key: str, name: str) -> bytes:
    return blake2b(f"{key}\n{name}".encode(), digest_size=8).digest()

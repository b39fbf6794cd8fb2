"""Whether a restored copy contains what was recorded when the backup was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backup.manifest import Content


def differences(recorded: Iterable[Content], found: Iterable[Content]) -> tuple[str, ...]:
    """What is not the same, one sentence each; empty when nothing differs.

    A fingerprint that was not taken on one side is not compared; a count always is.
    """
    expected = {content.name: content for content in recorded}
    present = {content.name: content for content in found}
    missing = [f"{name} is missing" for name in sorted(expected.keys() - present.keys())]
    added = [f"{name} was not in the backup" for name in sorted(present.keys() - expected.keys())]
    changed = [
        sentence
        for name in sorted(expected.keys() & present.keys())
        if (sentence := _difference(expected[name], present[name]))
    ]
    return (*missing, *changed, *added)


def _difference(recorded: Content, found: Content) -> str:
    if recorded.rows != found.rows:
        return f"{recorded.name} has {found.rows} rows, {recorded.rows} were recorded"
    both = recorded.fingerprint and found.fingerprint
    if both and recorded.fingerprint != found.fingerprint:
        return f"{recorded.name} has the {found.rows} rows that were recorded, with another content"
    return ""

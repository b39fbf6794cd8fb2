"""What the docstrings of structs say: a summary, a text, and a sentence for each field."""

from __future__ import annotations

import inspect
import re
from functools import lru_cache

import msgspec

_ENTRY = re.compile(r"^    (?P<name>\w+): (?P<text>.*)$")


class Described(msgspec.Struct, frozen=True):
    """A struct's documentation.

    Attributes:
        summary: First sentence.
        text: Everything before the list of fields, summary included.
        fields: Sentence by field name; those of base structs included.
    """

    summary: str
    text: str
    fields: dict[str, str]


@lru_cache(maxsize=512)
def described(kind: type) -> Described:
    """Read the docstring of `kind`, and of its bases for the fields that it inherits."""
    text, _ = _split(kind)
    fields: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, msgspec.Struct):
            fields |= _split(base)[1]
    return Described(summary=_first_sentence(text), text=text, fields=fields)


def _split(kind: type) -> tuple[str, dict[str, str]]:
    doc = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
    head, _, rest = doc.partition("\nAttributes:\n")
    listed, _, tail = rest.partition("\n\n")
    text = "\n\n".join(part.strip() for part in (head, tail) if part.strip())
    return text, _entries(listed)


def _entries(listed: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    name = ""
    for line in listed.splitlines():
        match = _ENTRY.match(line)
        if match:
            name = match["name"]
            entries[name] = match["text"]
        elif name:
            entries[name] = f"{entries[name]} {line.strip()}"
    return entries


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.:])\s", text.replace("\n", " "), maxsplit=1)[0]

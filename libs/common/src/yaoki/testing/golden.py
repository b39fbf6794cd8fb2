"""Golden messages: files that an earlier build wrote and that every later build has to read.

`python -m yaoki.testing.golden DIRECTORY` adds what is missing there and never touches a file that exists: where a
type has gained fields, a further file (`RunStarted-2.json`) shows them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import inspect

from yaoki.commands import REQUESTS
from yaoki.docs.examples import example
from yaoki.docs.schemas import structs
from yaoki.events import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

_REPLIES = sorted({request.reply for request in REQUESTS}, key=lambda kind: kind.__name__)
TYPES: tuple[type, ...] = (*EVENT_TYPES, *REQUESTS, *_REPLIES)
ENUMERATIONS = "enumerations.json"


class GoldenFiles:
    """The golden files of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def of(self, kind: type) -> list[Path]:
        """Files of a type, oldest first."""
        paths = self.directory.glob(f"{kind.__name__}*.json")
        return sorted(path for path in paths if path.stem.partition("-")[0] == kind.__name__)

    def uncovered(self, kind: type) -> set[str]:
        """Fields of the present type, at any depth, that no file shows."""
        info = inspect.type_info(kind)
        bodies = [json.loads(path.read_bytes()) for path in self.of(kind)]
        shown = {path for body in bodies for path, _ in shown_fields(body, info)}
        return set(_all_fields(info)) - shown

    def recorded_enumerations(self) -> dict[str, list[str]]:
        """Every enumeration with all values that it ever had."""
        path = self.directory / ENUMERATIONS
        known: dict[str, list[str]] = json.loads(path.read_bytes()) if path.exists() else {}
        return known

    def add_missing(self) -> list[Path]:
        """Write what is missing; returns what was written."""
        new = {self._next(kind): example(kind) for kind in TYPES if not self.of(kind) or self.uncovered(kind)}
        known = self.recorded_enumerations()
        grown = {name: _with(known.get(name, []), values) for name, values in enumerations().items()}
        if known | grown != known:
            new[self.directory / ENUMERATIONS] = known | grown
        for path, content in new.items():
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return list(new)

    def _next(self, kind: type) -> Path:
        count = len(self.of(kind))
        return self.directory / (f"{kind.__name__}-{count + 1}.json" if count else f"{kind.__name__}.json")


def shown_fields(body: Any, kind: inspect.Type, path: str = "") -> Iterator[tuple[str, bool]]:
    """Every field that stands in `body`, and whether the present type still knows it."""
    kind = _plain(kind)
    if isinstance(kind, inspect.StructType) and isinstance(body, dict):
        types = {field.encode_name: field.type for field in kind.fields}
        for name, value in body.items():
            here = f"{path}.{name}"
            yield here, name in types or name == kind.tag_field
            if name in types:
                yield from shown_fields(value, types[name], here)
    elif isinstance(kind, inspect.VarTupleType | inspect.ListType) and isinstance(body, list):
        for item in body:
            yield from shown_fields(item, kind.item_type, f"{path}[]")
    elif isinstance(kind, inspect.DictType) and isinstance(body, dict):
        for item in body.values():
            yield from shown_fields(item, kind.value_type, f"{path}{{}}")


def enumerations() -> dict[str, list[str]]:
    """Every enumeration that stands in a message, with its present values."""
    kinds = [_plain(field.type) for info in structs(TYPES) for field in info.fields]
    enums = {kind.cls for kind in kinds if isinstance(kind, inspect.EnumType)}
    return {kind.__name__: [str(member.value) for member in kind] for kind in sorted(enums, key=lambda e: e.__name__)}


def _with(known: list[str], values: list[str]) -> list[str]:
    return known + [value for value in values if value not in known]


def _all_fields(kind: inspect.Type, path: str = "", within: tuple[type, ...] = ()) -> Iterator[str]:
    kind = _plain(kind)
    if isinstance(kind, inspect.StructType) and kind.cls not in within and not kind.array_like:
        for field in kind.fields:
            here = f"{path}.{field.encode_name}"
            yield here
            yield from _all_fields(field.type, here, (*within, kind.cls))
    elif isinstance(kind, inspect.VarTupleType | inspect.ListType):
        yield from _all_fields(kind.item_type, f"{path}[]", within)
    elif isinstance(kind, inspect.DictType):
        yield from _all_fields(kind.value_type, f"{path}{{}}", within)


def _plain(kind: inspect.Type) -> inspect.Type:
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        return _plain(next(option for option in kind.types if not isinstance(option, inspect.NoneType)))
    return kind


def main() -> None:
    """Add what is missing and name it."""
    parser = argparse.ArgumentParser(prog="python -m yaoki.testing.golden")
    parser.add_argument("directory", type=Path, help="libs/common/tests/golden")
    for path in GoldenFiles(parser.parse_args().directory).add_missing():
        sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()

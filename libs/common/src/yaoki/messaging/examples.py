"""Example bodies and allowed values, read from the types themselves, for error sentences and metadata."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

if TYPE_CHECKING:
    import enum
    from collections.abc import Sequence

_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\.\.\.|\d+)\]")


@lru_cache(maxsize=256)
def example_json(kind: Any) -> str:
    """A smallest body that `kind` accepts: required fields only, as one line of JSON."""
    return msgspec.json.encode(_example(inspect.type_info(kind))).decode()


def allowed_values(types: Sequence[type], path: str) -> list[str]:
    """What the enumeration or literal at `path` (`$.failure_type`) allows; empty if it is neither."""
    for kind in types:
        found = _at(inspect.type_info(kind), path)
        if isinstance(found, inspect.EnumType):
            return [str(member.value) for member in found.cls]
        if isinstance(found, inspect.LiteralType):
            return [str(value) for value in found.values]
    return []


def field_names(types: Sequence[type], path: str) -> list[str]:
    """The fields of the struct at `path`, as written on the wire."""
    for kind in types:
        found = _at(inspect.type_info(kind), path)
        if isinstance(found, inspect.StructType):
            return [field.encode_name for field in found.fields]
    return []


def _at(root: inspect.Type, path: str) -> inspect.Type | None:
    """The type at a path as msgspec writes it: `$`, `$.order.epoch[0]`, `$.targets[...]`."""
    found: inspect.Type | None = root
    for name, _ in _STEP.findall(path):
        found = _child(_plain(found), name)
        if found is None:
            return None
    return _plain(found)


def _plain(kind: inspect.Type | None) -> inspect.Type | None:
    """Without metadata and without `| None`."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        others = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
        return _plain(others[0]) if len(others) == 1 else kind
    return kind


def _child(kind: inspect.Type | None, name: str) -> inspect.Type | None:
    if isinstance(kind, inspect.StructType):
        return next((field.type for field in kind.fields if field.encode_name == name), None)
    if isinstance(kind, inspect.DictType):
        return kind.value_type
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return kind.item_type
    return None


def _example(kind: inspect.Type, name: str = "value") -> Any:
    plain = _plain(kind)
    if isinstance(plain, inspect.StructType):
        return _struct(plain)
    if isinstance(plain, inspect.EnumType):
        first: enum.Enum = next(iter(plain.cls))
        return first.value
    if isinstance(plain, inspect.LiteralType):
        return plain.values[0]
    return f"<{name}>" if plain is None else _SCALARS.get(type(plain), f"<{name}>")


def _struct(kind: inspect.StructType) -> Any:
    required = [field for field in kind.fields if field.required]
    if kind.array_like:
        return [_example(field.type, field.encode_name) for field in kind.fields]
    tag = {kind.tag_field: kind.tag} if kind.tag_field else {}
    return tag | {field.encode_name: _example(field.type, field.encode_name) for field in required}


_SCALARS: dict[type[inspect.Type], Any] = {
    inspect.IntType: 1,
    inspect.FloatType: 1.0,
    inspect.BoolType: True,
    inspect.DateTimeType: "2026-01-31T09:30:00Z",
    inspect.DictType: {},
    inspect.ListType: [],
    inspect.VarTupleType: [],
    inspect.NoneType: None,
}

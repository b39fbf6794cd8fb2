"""Types and defaults in words, for tables."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from yaoki.config.forms import Address, format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SCALARS: dict[type[inspect.Type], str] = {
    inspect.StrType: "text",
    inspect.BoolType: "boolean",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.NoneType: "null",
    inspect.AnyType: "anything",
    inspect.DateTimeType: "time (RFC 3339, UTC)",
    inspect.CustomType: "secret (`env:NAME` or `file:/path`)",
}
_FORM_NAMES = {"size": "size", "duration": "duration", "name": "name", "zone": "time zone"}
_BINARY_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def type_words(kind: inspect.Type) -> str:
    """The type as a reader of JSON or YAML knows it."""
    words = _COMPOSED.get(type(kind))
    return words(kind) if words else _SCALARS.get(type(kind), "value")


def _metadata(kind: inspect.Metadata) -> str:
    form = (kind.extra or {}).get("form", "")
    return _FORM_NAMES.get(form, form.replace("-", " ")) if form else type_words(kind.type)


def _struct(kind: inspect.StructType) -> str:
    name = kind.cls.__name__
    return "host:port" if kind.cls is Address else f"[{name}](#{name.lower()})"


def _choices(values: Iterable[object]) -> str:
    return " \\| ".join(f"`{value}`" for value in values)


_COMPOSED: dict[type[inspect.Type], Callable[[Any], str]] = {
    inspect.Metadata: _metadata,
    inspect.StructType: _struct,
    inspect.UnionType: lambda kind: " or ".join(type_words(option) for option in kind.types),
    inspect.EnumType: lambda kind: _choices(member.value for member in kind.cls),
    inspect.LiteralType: lambda kind: _choices(kind.values),
    inspect.DictType: lambda kind: f"map of {type_words(kind.value_type)}",
    inspect.VarTupleType: lambda kind: f"list of {type_words(kind.item_type)}",
    inspect.ListType: lambda kind: f"list of {type_words(kind.item_type)}",
}


def form_of(kind: inspect.Type) -> str:
    """Name of the form that a value is written in, through `| None`; empty for plain values."""
    if isinstance(kind, inspect.Metadata):
        return str((kind.extra or {}).get("form", ""))
    if isinstance(kind, inspect.UnionType):
        return next(filter(None, map(form_of, kind.types)), "")
    return ""


def written(value: Any, form: str) -> Any:
    """A default as it stands in a file: `30s` and `1MiB` rather than 30.0 and 1048576."""
    if value is None:
        return None
    if form == "duration":
        return format_duration(value)
    if form == "size":
        unit = next(((name, size) for name, size in _BINARY_UNITS if value and value % size == 0), None)
        return f"{value // unit[1]}{unit[0]}" if unit else value
    return value.value if isinstance(value, enum.Enum) else value


def default_words(field: inspect.Field, form: str = "") -> str:
    """The default for a table; `required` where there is none."""
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None:
        return ""
    if isinstance(value, msgspec.Struct) and not value.__struct_config__.array_like:
        return "its defaults"
    text = msgspec.json.encode(written(value, form)).decode()
    return "" if text in {"[]", "{}", '""'} else f"`{text.strip(chr(34))}`"

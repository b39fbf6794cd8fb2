"""JSON Schemas of structs, with what their docstrings say as descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from yaoki.config.secrets import REFERENCE_PATTERN, Secret
from yaoki.docs.docstrings import described
from yaoki.docs.words import form_of, written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_WIDER = {"duration", "size"}
"""Forms in which text or a number may stand."""


def components(kinds: Sequence[type], ref_template: str) -> dict[str, dict[str, Any]]:
    """Schemas by struct name, of `kinds` and of everything that they hold."""
    _, schemas = msgspec.json.schema_components(kinds, ref_template=ref_template, schema_hook=_secret)
    by_name = {info.cls.__name__: info for info in structs(kinds)}
    for name, schema in schemas.items():
        if name in by_name:
            _describe(schema, by_name[name])
    return dict(sorted(schemas.items()))


def _secret(kind: type) -> dict[str, Any]:
    if kind is Secret:
        return {"type": "string", "pattern": REFERENCE_PATTERN}
    raise TypeError(f"no JSON Schema for {kind}")


def _describe(schema: dict[str, Any], info: inspect.StructType) -> None:
    docs = described(info.cls)
    schema["description"] = docs.text.replace("\n", " ")
    for field in info.fields:
        prop = schema.get("properties", {}).get(field.encode_name)
        if prop is None:
            continue
        if field.name in docs.fields:
            prop["description"] = docs.fields[field.name]
        if isinstance(prop.get("default"), dict):
            del prop["default"]  # those of the struct stand at its own fields, in the form that people write
        if (names := _key_names(field.type)) is not None:
            prop["propertyNames"] = {"enum": names}
        if form := form_of(field.type):
            if "default" in prop:
                prop["default"] = written(prop["default"], form)
            _widen(prop, form)


def _key_names(kind: inspect.Type) -> list[str] | None:
    """The keys that a mapping by an enumeration may have."""
    if isinstance(kind, inspect.DictType) and isinstance(kind.key_type, inspect.EnumType):
        return [str(member.value) for member in kind.key_type.cls]
    return None


def _widen(prop: dict[str, Any], form: str) -> None:
    """Let a number stand as text as well; a limit of the number does not apply to the text."""
    for part in (prop, *prop.get("anyOf", ())):
        if form in _WIDER and part.get("type") in {"number", "integer"}:
            part["type"] = ["string", part["type"]]


def structs(kinds: Sequence[type]) -> list[inspect.StructType]:
    """All structs that `kinds` are or hold."""
    found: dict[type, inspect.StructType] = {}
    pending: list[inspect.Type] = [inspect.type_info(kind) for kind in kinds]
    children: dict[type[inspect.Type], Callable[[Any], list[inspect.Type]]] = {
        inspect.Metadata: lambda kind: [kind.type],
        inspect.UnionType: lambda kind: list(kind.types),
        inspect.DictType: lambda kind: [kind.key_type, kind.value_type],
        inspect.VarTupleType: lambda kind: [kind.item_type],
        inspect.StructType: lambda kind: [field.type for field in kind.fields],
    }
    while pending:
        kind = pending.pop()
        if isinstance(kind, inspect.StructType):
            if kind.cls in found:
                continue
            found[kind.cls] = kind
        pending += children.get(type(kind), lambda _: [])(kind)
    return list(found.values())

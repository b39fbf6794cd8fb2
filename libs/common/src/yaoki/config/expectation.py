"""What a type of the model expects, in words, and whether a value keeps to its limits."""

from __future__ import annotations

import re
from typing import Any

from msgspec import inspect

from yaoki.config.forms import FORMS, Address
from yaoki.config.mistakes import one_of
from yaoki.config.secrets import REFERENCE_FORM


def described(kind: inspect.Type) -> str:
    """Completes the sentence "expected ..." for a field's type as msgspec describes it."""
    if isinstance(kind, inspect.Metadata):
        return expectation(kind.type, (kind.extra or {}).get("form", ""))
    return expectation(kind, "")


def expectation(kind: inspect.Type, form: str) -> str:
    """As `described`, for a type whose form is already taken off."""
    return _words(kind, form) + _limits(kind)


def violates(value: Any, kind: inspect.Type) -> bool:
    """Whether a value of the right type is outside the limits of `kind`."""
    limit = {name: getattr(kind, name, None) for name in ("gt", "ge", "lt", "le", "min_length", "pattern")}
    return (
        (limit["gt"] is not None and not value > limit["gt"])
        or (limit["ge"] is not None and not value >= limit["ge"])
        or (limit["lt"] is not None and not value < limit["lt"])
        or (limit["le"] is not None and not value <= limit["le"])
        or (limit["min_length"] is not None and len(value) < limit["min_length"])
        or (limit["pattern"] is not None and not re.search(limit["pattern"], value))
    )


def _words(kind: inspect.Type, form: str) -> str:
    if form:
        words = FORMS[form].expected
    elif isinstance(kind, inspect.UnionType):
        options = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
        words = " or ".join(described(option) for option in options)
    elif isinstance(kind, inspect.EnumType):
        words = one_of([str(member.value) for member in kind.cls])
    elif isinstance(kind, inspect.LiteralType):
        words = one_of([str(value) for value in kind.values])
    elif isinstance(kind, inspect.StructType) and kind.cls is Address:
        words = FORMS["address"].expected
    else:
        words = _PLAIN.get(type(kind), "a value")
    return words


_PLAIN: dict[type[inspect.Type], str] = {
    inspect.StrType: "text",
    inspect.BoolType: "true or false",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.DictType: "a mapping",
    inspect.VarTupleType: "a list",
    inspect.StructType: "a mapping",
    inspect.CustomType: REFERENCE_FORM,
}


def _limits(kind: inspect.Type) -> str:
    low, high = getattr(kind, "ge", None), getattr(kind, "le", None)
    above, below = getattr(kind, "gt", None), getattr(kind, "lt", None)
    pattern = getattr(kind, "pattern", None)
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    if above is not None and below is not None:
        return f", more than {above} and less than {below}"
    if above is not None:
        return f", more than {above}"
    if pattern is not None:
        return f" that matches {pattern}"
    return " that is not empty" if getattr(kind, "min_length", None) else ""

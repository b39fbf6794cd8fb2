"""Strict decoding, and sentences that say what is wrong with a body without repeating the body."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from yaoki.errors import RejectedError
from yaoki.messaging.examples import allowed_values, example_json, field_names

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

_MAX_SENTENCE = 400
_ENUM = re.compile(r"Invalid (?:enum )?value .*? - at `(?P<path>[^`]*)`$", re.DOTALL)
_UNKNOWN_FIELD = re.compile(
    r"Object contains unknown field `(?P<name>.{0,64}).*?`(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL
)


class StrictDecoder(Generic[T]):
    """Decodes JSON into one of `types`, without coercion (`"2"` is not 2).

    Args:
        types: Struct types; more than one only where they are tagged by `type`.
    """

    def __init__(self, types: Sequence[type[T]]) -> None:
        self._types: tuple[Any, ...] = tuple(types)
        union: Any = self._types[0]
        for other in self._types[1:]:
            union |= other
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(union, strict=True)

    def decode(self, body: bytes) -> T:
        """Return the message.

        Raises:
            RejectedError: One sentence that names the field, what is wrong and what was expected.
        """
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # The original error may quote the body; it must not travel on as a cause into logs.
            sentence = self._explain(body, error)
        raise RejectedError(sentence)

    def _explain(self, body: bytes, error: Exception) -> str:
        if isinstance(error, msgspec.ValidationError):
            return _explain_validation(str(error), self._types)
        if not body:
            return f"the body is empty, expected a JSON object such as {example_json(self._types[0])}"
        if isinstance(error, UnicodeDecodeError):
            found = f"the body of {len(body)} bytes is not UTF-8"
        elif isinstance(error, RecursionError):
            found = "the body is nested too deeply"
        else:
            found = f"the body of {len(body)} bytes is not JSON ({_position(str(error))})"
        return f"{found}, expected a JSON object such as {example_json(self._types[0])}"


def _position(text: str) -> str:
    """Msgspec's own words: they name a position and never quote the body."""
    return text.removeprefix("JSON is malformed: ")[:_MAX_SENTENCE]


def _explain_validation(text: str, types: Sequence[type]) -> str:
    """Msgspec's sentence without values of the sender, and with what would have been right."""
    enum = _ENUM.match(text)
    if enum is not None:
        path = enum["path"]
        allowed = [kind.__name__ for kind in types] if path == "$.type" else allowed_values(types, path)
        expected = f", expected one of: {', '.join(allowed)}" if allowed else ""
        return f"field `{path}` has a value that is not allowed{expected}"[:_MAX_SENTENCE]
    unknown = _UNKNOWN_FIELD.match(text)
    if unknown is not None:
        where = unknown["path"] or "$"
        known = field_names(types, where)
        expected = f"only: {', '.join(known)}" if known else "no fields at all: {}"
        return f"unknown field `{unknown['name']}` in `{where}`, expected {expected}"[:_MAX_SENTENCE]
    text = text[0].lower() + text[1:] if text else "invalid"
    return f"{text[:_MAX_SENTENCE]}; expected a body such as {example_json(types[0])}"

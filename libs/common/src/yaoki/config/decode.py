"""Turns YAML nodes into the structs of the model, going on after every mistake.

msgspec's own decoder stops at the first error and knows no lines; this one walks the same type descriptions
(`msgspec.inspect`) and collects. What could not be read is left out (or takes its default), so that the
checks that look at several fields can still run over the rest.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import yaml
from msgspec import NODEFAULT, inspect

from yaoki.config import secrets
from yaoki.config.expectation import described, expectation, violates
from yaoki.config.forms import FORMS, Address
from yaoki.config.mistakes import Mistake, did_you_mean, one_of, shown
from yaoki.config.source import found, line_of, pairs, plain, scalar
from yaoki.config.targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from yaoki.config.extensions import Vocabulary

INVALID: Final = object()
"""Stands for a value that could not be read; the mistake is recorded."""


class Decoder:
    """Decodes one file.

    Args:
        vocabulary: Target kinds that may stand there.
        environ: For `env:` references.
        needs: Glob patterns over paths; secrets elsewhere are checked for form but not resolved.

    Attributes:
        mistakes: In the file.
        unresolved: Secrets that are needed and that this process's environment does not have.
        lines: Of each path.
        names: Keys of each mapping by its path, those of broken entries included.
        references: See `Context.references`.
    """

    def __init__(self, *, vocabulary: Vocabulary, environ: Mapping[str, str], needs: Sequence[str]) -> None:
        self.mistakes: list[Mistake] = []
        self.lines: dict[str, int] = {}
        self.names: dict[str, set[str]] = {}
        self.references: list[tuple[str, str, str]] = []
        self.unresolved: list[Mistake] = []
        self._vocabulary = vocabulary
        self._environ = environ
        self._needs = needs

    def decode(self, node: yaml.Node, kind: inspect.Type, path: str = "") -> Any:
        """The value of `node` as `kind` describes it, or INVALID."""
        self.lines.setdefault(path, line_of(node))
        if isinstance(kind, inspect.Metadata):
            extra, kind = kind.extra or {}, kind.type
            if form := extra.get("form", ""):
                value = self._leaf(node, kind, path, FORMS[form].parse, form)
                if "names" in extra and value is not INVALID:
                    self.references.append((path, value, extra["names"]))
                return value
        if isinstance(kind, inspect.StructType):
            return self._address(node, kind, path) if kind.cls is Address else self._struct(node, kind, path)
        readers: dict[type[inspect.Type], Callable[[yaml.Node, Any, str], Any]] = {
            inspect.UnionType: self._union,
            inspect.DictType: self._dict,
            inspect.VarTupleType: self._tuple,
            inspect.CustomType: self._secret,
            inspect.AnyType: self._any,
        }
        reader = readers.get(type(kind))
        return reader(node, kind, path) if reader else self._scalar(node, kind, path)

    def wrong(self, node: yaml.Node, path: str, expected: str, *, what: str | None = None, hint: str = "") -> Any:
        """Record a mistake at `node`; return INVALID."""
        self.mistakes.append(
            Mistake(path=path, found=what or found(node), expected=expected, line=line_of(node), hint=hint)
        )
        return INVALID

    def _scalar(self, node: yaml.Node, kind: inspect.Type, path: str) -> Any:
        return self._leaf(node, kind, path, lambda value: _typed(value, kind), "")

    def _leaf(
        self, node: yaml.Node, kind: inspect.Type, path: str, parse: Callable[[object], object], form: str
    ) -> Any:
        expected = expectation(kind, form)
        if not isinstance(node, yaml.ScalarNode):
            return self.wrong(node, path, expected)
        value = scalar(node)
        try:
            parsed = parse(value)
        except ValueError as exc:
            # Only our own sentences: those of the standard library may repeat the value, password and all.
            own = str(exc) if str(exc).startswith("a URL without") else expected
            return self.wrong(node, path, own, what=_masked(value), hint=_quoting_hint(value, kind, node))
        if violates(parsed, kind):
            return self.wrong(node, path, expected)
        return parsed

    def _address(self, node: yaml.Node, kind: inspect.Type, path: str) -> Any:
        return self._leaf(node, kind, path, FORMS["address"].parse, "address")

    def _any(self, node: yaml.Node, _kind: inspect.Type, path: str) -> Any:
        try:
            return plain(node)
        except ValueError:
            return self.wrong(node, path, "a value that is nested less deeply", what="endless nesting")

    def _union(self, node: yaml.Node, kind: inspect.UnionType, path: str) -> Any:
        options = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
        if len(options) < len(kind.types) and isinstance(node, yaml.ScalarNode) and scalar(node) is None:
            return None
        if len(options) == 1:
            return self.decode(node, options[0], path)
        structs = [option for option in options if isinstance(option, inspect.StructType)]
        return self._tagged(node, {str(option.tag): option for option in structs}, path)

    def _tagged(self, node: yaml.Node, options: Mapping[str, inspect.StructType], path: str) -> Any:
        tag_field = next(iter(options.values())).tag_field or "kind"
        if not isinstance(node, yaml.MappingNode):
            return self.wrong(node, path, f"a mapping with the key {tag_field}")
        given = {key.value: value for key, value in pairs(node) if isinstance(key, yaml.ScalarNode)}
        here, choices = f"{path}.{tag_field}", one_of(sorted(options))
        tag = given.get(tag_field)
        name = str(scalar(tag)) if isinstance(tag, yaml.ScalarNode) else ""
        if name in options:
            return self._struct(node, options[name], path)
        for field in _common(options.values()):
            if field.encode_name in given:
                self.decode(given[field.encode_name], field.type, _join(path, field.encode_name))
        if tag is None:
            return self.wrong(node, here, choices, what="nothing")
        return self.wrong(tag, here, choices, hint=did_you_mean(name, options))

    def _struct(self, node: yaml.Node, kind: inspect.StructType, path: str) -> Any:
        if kind.cls is Target:
            return self._tagged(node, self._target_kinds, path)
        shorthand = str(getattr(kind.cls, "shorthand", ""))
        fields = {field.encode_name: field for field in kind.fields}
        if shorthand and isinstance(node, yaml.ScalarNode):
            value = self.decode(node, fields[shorthand].type, path)
            return INVALID if value is INVALID else kind.cls(**{shorthand: value})
        if not isinstance(node, yaml.MappingNode):
            return self.wrong(node, path, f"a mapping with keys out of {', '.join(fields)}")
        return self._build(kind, fields, self._fields(node, kind, fields, path))

    @cached_property
    def _target_kinds(self) -> dict[str, inspect.StructType]:
        # Describing all kinds takes milliseconds; for each of ten thousand targets it took most of a minute.
        kinds = {tag: inspect.type_info(cls) for tag, cls in self._vocabulary.kinds.items()}
        return {tag: kind for tag, kind in kinds.items() if isinstance(kind, inspect.StructType)}

    def _fields(
        self, node: yaml.MappingNode, kind: inspect.StructType, fields: Mapping[str, inspect.Field], path: str
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in pairs(node):
            name = str(key.value)
            if name in fields:
                values[name] = self.decode(value, fields[name].type, _join(path, name))
            elif name != kind.tag_field:
                hint = did_you_mean(name, fields)
                self.wrong(
                    key,
                    _join(path, name),
                    f"one of the keys {', '.join(fields)}",
                    what="an unknown key",
                    hint=hint,
                )
        for name, field in fields.items():
            if field.required and name not in values:
                self.wrong(node, _join(path, name), described(field.type), what="nothing")
        return values

    @staticmethod
    def _build(kind: inspect.StructType, fields: Mapping[str, inspect.Field], values: Mapping[str, Any]) -> Any:
        good = {fields[name].name: value for name, value in values.items() if value is not INVALID}
        missing = any(
            field.name not in good
            for field in fields.values()
            if field.default is NODEFAULT and field.default_factory is NODEFAULT
        )
        return INVALID if missing else kind.cls(**good)

    def _dict(self, node: yaml.Node, kind: inspect.DictType, path: str) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return self.wrong(node, path, "a mapping")
        self.names[path] = {str(key.value) for key, _ in pairs(node)}
        result: dict[Any, Any] = {}
        for key_node, value_node in pairs(node):
            here = _join(path, str(key_node.value))
            key = self.decode(key_node, kind.key_type, here)
            value = self.decode(value_node, kind.value_type, here)
            if key is not INVALID and value is not INVALID:
                result[key] = value
        if violates(pairs(node), kind):
            return self.wrong(node, path, "at least one entry", what="an empty mapping")
        return result

    def _tuple(self, node: yaml.Node, kind: inspect.VarTupleType, path: str) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return self.wrong(node, path, "a list")
        items = [self.decode(item, kind.item_type, f"{path}[{index}]") for index, item in enumerate(node.value)]
        if violates(items, kind):
            return self.wrong(node, path, "at least one entry", what="an empty list")
        return tuple(item for item in items if item is not INVALID)

    def _secret(self, node: yaml.Node, _kind: inspect.Type, path: str) -> Any:
        reference = scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if not isinstance(reference, str) or not secrets.is_reference(reference):
            hint = "put it into an environment variable or a file, and name that here"
            return self.wrong(node, path, secrets.REFERENCE_FORM, what="a literal value (not shown)", hint=hint)
        if not any(fnmatchcase(path, pattern) for pattern in self._needs):
            return secrets.Secret(reference)
        try:
            return secrets.Secret(reference, secrets.resolve(reference, self._environ))
        except secrets.UnresolvableError as exc:
            missing = Mistake(path=path, found=f"the reference {reference}", expected=str(exc), line=line_of(node))
            self.unresolved.append(missing)
            return secrets.Secret(reference)


def _common(kinds: Iterable[inspect.StructType]) -> list[inspect.Field]:
    """Fields that mean the same whatever the tag says."""
    first, *others = kinds
    theirs = [{field.encode_name: field.type for field in other.fields} for other in others]
    return [field for field in first.fields if all(types.get(field.encode_name) == field.type for types in theirs)]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _typed(value: object, kind: inspect.Type) -> object:
    """`value` if it is of the plain type `kind`; no guessing (`"2"` is no number)."""
    match kind:
        case inspect.StrType() if isinstance(value, str):
            return value
        case inspect.BoolType() if isinstance(value, bool):
            return value
        case inspect.IntType() if isinstance(value, int) and not isinstance(value, bool):
            return value
        case inspect.FloatType() if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case inspect.EnumType():
            return kind.cls(value)
        case inspect.LiteralType() if value in kind.values:
            return value
        case _:
            raise ValueError


def _masked(value: object) -> str:
    """`value` for a message, without what may be a password in a URL."""
    credentials = isinstance(value, str) and "@" in value and ":" in value
    return "text with user and password (not shown)" if credentials else shown(value)


def _quoting_hint(value: object, kind: inspect.Type, node: yaml.ScalarNode) -> str:
    if isinstance(kind, inspect.StrType) and not isinstance(value, str) and value is not None:
        return f"put it in quotes if text is meant: '{node.value}'"
    if isinstance(kind, inspect.EnumType):
        return did_you_mean(str(value), [str(member.value) for member in kind.cls])
    if isinstance(kind, inspect.LiteralType):
        return did_you_mean(str(value), [str(choice) for choice in kind.values])
    return ""

"""Reads YAML into nodes that still know their lines, and finds what a plain load would hide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import yaml

from yaoki.config.mistakes import Mistake, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_STR = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_PLAIN = (*_NUMBERS, "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null")
_DEEPEST = 40


def parse(text: str) -> tuple[yaml.Node | None, list[Mistake]]:
    """The root node, or None with the mistake that made the text unreadable."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        problem = f"{exc.problem or 'a syntax error'}"
        return None, [_unreadable(problem, mark.line + 1 if mark else None)]
    except (yaml.YAMLError, RecursionError, ValueError):
        return None, [_unreadable("characters that YAML does not allow, or endless nesting", None)]
    if root is None:
        return None, [Mistake(path="", found="an empty file", expected="a configuration", line=1)]
    return root, list(_unseen(root))


def line_of(node: yaml.Node) -> int:
    """Line of the node, from 1."""
    return int(node.start_mark.line) + 1


def scalar(node: yaml.ScalarNode) -> object:
    """Value of a scalar: text, number, truth value or None; what YAML takes for a date stays text.

    So does `1:30`, which YAML 1.1 reads as a number to the base 60.
    """
    if node.tag not in _PLAIN or (node.tag in _NUMBERS and ":" in node.value):
        return node.value
    try:
        value = yaml.constructor.SafeConstructor().construct_object(node)
    except ValueError:
        return node.value
    return node.value if isinstance(value, float) and not math.isfinite(value) else value


def pairs(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    """Keys and values with merge keys (`<<: *defaults`) filled in; the mapping's own keys win."""
    yaml.constructor.SafeConstructor().flatten_mapping(node)
    last = {key.value: (key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    return list(last.values())


def found(node: yaml.Node) -> str:
    """What stands there, for a message."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return shown(scalar(node)) if isinstance(node, yaml.ScalarNode) else "something unreadable"


def plain(node: yaml.Node, depth: int = 0) -> object:
    """The node as plain Python values, for fields that may hold anything.

    Raises:
        ValueError: Nested deeper than any sensible configuration (an alias may refer to itself).
    """
    if depth > _DEEPEST:
        raise ValueError
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): plain(value, depth + 1) for key, value in pairs(node)}
    if isinstance(node, yaml.SequenceNode):
        return [plain(item, depth + 1) for item in node.value]
    return scalar(node) if isinstance(node, yaml.ScalarNode) else None


def _unreadable(problem: str, line: int | None) -> Mistake:
    return Mistake(path="", found=problem, expected="readable YAML", line=line, hint="indent with spaces, not tabs")


def _unseen(root: yaml.Node) -> Iterator[Mistake]:
    """Keys that would be lost without a word: a plain load keeps the last of two equal ones."""
    pending: list[tuple[yaml.Node, str]] = [(root, "")]
    visited: set[int] = set()
    while pending:
        node, path = pending.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += [(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            yield from _bad_keys(node, path)
            pending += [(value, _key_path(path, key)) for key, value in node.value]


def _bad_keys(node: yaml.MappingNode, path: str) -> Iterator[Mistake]:
    first_at: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            yield Mistake(path=path, found=f"{found(key)} as a key", expected="a name as key", line=line_of(key))
        elif key.value in first_at and key.tag != _MERGE:
            yield Mistake(
                path=_key_path(path, key),
                found=f"the key a second time (first on line {first_at[key.value]})",
                expected="each key once",
                line=line_of(key),
            )
        else:
            first_at[key.value] = line_of(key)


def _key_path(path: str, key: yaml.Node) -> str:
    name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
    return f"{path}.{name}" if path else name

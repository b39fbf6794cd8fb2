"""`${param.<name>}` in the nodes of a plan, replaced before anything is decoded. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from yaoki.config.mistakes import Mistake, did_you_mean, one_of, shown
from yaoki.config.source import line_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.dr.plan_file import ParameterEntry

_PARAMETER = re.compile(r"\$\{param\.([^}]*)\}")


class Values:
    """Values of one file's parameters.

    Args:
        declared: In the file.
        given: By whoever uses it.
        examples: Let an example stand in where no value is given.

    Attributes:
        mistakes: Found while values were taken and put in.
    """

    def __init__(self, declared: Mapping[str, ParameterEntry], given: Mapping[str, str], *, examples: bool) -> None:
        self.mistakes: list[Mistake] = []
        self._declared = declared
        self._values = dict(given)
        for name in sorted(set(given) - set(declared)):
            self._wrong(
                f"params.{name}", "an unknown parameter", one_of(sorted(declared)), did_you_mean(name, declared)
            )
        for name, entry in declared.items():
            if name in given:
                continue
            if entry.default is not None:
                self._values[name] = entry.default
            elif examples and entry.example:
                self._values[name] = entry.example
            elif not entry.example:
                self._wrong(f"parameters.{name}.example", "nothing", "an example where there is no default")
            else:
                self._wrong(f"params.{name}", "nothing", "a value, there is no default", entry.description.rstrip("."))

    def put_into(self, node: yaml.Node, path: str) -> yaml.Node:
        """The node with every parameter replaced by its text."""
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, self.put_into(value, _join(path, str(key.value)))) for key, value in node.value]
            return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)
        if isinstance(node, yaml.SequenceNode):
            items = [self.put_into(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
            return yaml.SequenceNode(node.tag, items, node.start_mark, node.end_mark)
        if isinstance(node, yaml.ScalarNode) and "${param." in node.value:
            return self._replaced(node, path)
        return node

    def _replaced(self, node: yaml.ScalarNode, path: str) -> yaml.Node:
        text = _PARAMETER.sub(lambda match: self._value(match[1], node, path), node.value)
        return yaml.ScalarNode("tag:yaml.org,2002:str", text, node.start_mark, node.end_mark)

    def _value(self, name: str, node: yaml.Node, path: str) -> str:
        if name not in self._declared:
            self.mistakes.append(
                Mistake(
                    path=path,
                    found=shown(f"${{param.{name}}}"),
                    expected=f"a parameter of this file: {one_of(sorted(self._declared))}",
                    hint=did_you_mean(name, self._declared),
                    line=line_of(node),
                )
            )
        return self._values.get(name, "x")

    def _wrong(self, path: str, found: str, expected: str, hint: str = "") -> None:
        self.mistakes.append(Mistake(path=path, found=found, expected=expected, hint=hint))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

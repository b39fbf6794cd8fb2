"""From files to a plan whose includes and parameters are filled in, or to everything that is wrong with it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import yaml
from msgspec import inspect

from yaoki.config import source
from yaoki.config.decode import INVALID, Decoder
from yaoki.config.extensions import Vocabulary
from yaoki.config.forms import Name
from yaoki.config.mistakes import Mistake
from yaoki.dr.parameters import Values
from yaoki.dr.plan_file import FragmentFile, IncludeEntry, ParameterEntry, PlanFile, StepEntry
from yaoki.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DEEPEST = 8
_LEAST_PARALLEL = 2


class PlanFiles(Protocol):
    """Where the texts of plans and fragments come from."""

    def read(self, name: str) -> str:
        """The text of a file. Raises RejectedError when there is none, with what there is."""
        ...


class PlanMistake(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, and in which file."""

    file: str
    mistake: Mistake


class PlanErrors(RejectedError):  # noqa: N818 - it is several errors, as in ExceptionGroup
    """A plan cannot be used; `mistakes` lists everything that is wrong with it and with what it includes."""

    def __init__(self, name: str, mistakes: Iterable[PlanMistake]) -> None:
        self.mistakes = sorted(mistakes, key=lambda one: (one.file, one.mistake.line or 0, one.mistake.path))
        count = len(self.mistakes)
        lines = "\n".join(f"  {one.file}: {one.mistake}" for one in self.mistakes)
        super().__init__(f"plan {name!r}: {count} mistake{'s' if count != 1 else ''}\n{lines}")


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A step with where it stands.

    Attributes:
        group: Steps of one `parallel` share it; empty for a step by itself.
        file: In which it is written.
        path: In that file.
        node: As it is written, parameters filled in.
    """

    step: StepEntry
    group: str
    file: str
    path: str
    node: yaml.Node


class ReadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as its files say it.

    Attributes:
        steps: In order, those of fragments in the place of their include.
        version: SHA-256 of the plan's text and of every text that it includes, hexadecimal.
        node: Of the whole file.
        examples: Parameters for which an example stands.
    """

    file: PlanFile
    name: str
    steps: tuple[Placed, ...]
    version: str
    node: yaml.Node
    examples: tuple[str, ...] = ()


class Reader:
    """Reads one plan.

    Attributes:
        mistakes: All that were found.
    """

    def __init__(self, files: PlanFiles, *, examples: bool) -> None:
        self.mistakes: list[PlanMistake] = []
        self._files = files
        self._examples = examples
        self._digest = hashlib.sha256()
        self._groups = 0

    def read(self, name: str, given: Mapping[str, str]) -> ReadPlan | None:
        """The plan in the file `name`; None when so much is wrong that nothing is left of it."""
        opened = self._open(name, PlanFile, given)
        if opened is None:
            return None
        plan, node = opened
        steps = tuple(self._steps(node, name, (name,)))  # for their mistakes too, whatever is wrong around them
        if plan is None:
            return None
        shown = tuple(
            key
            for key, entry in plan.parameters.items()
            if self._examples and key not in given and entry.default is None
        )
        version = self._digest.hexdigest()
        return ReadPlan(file=plan, name=name, steps=steps, version=version, node=node, examples=shown)

    def _open(self, name: str, kind: type, given: Mapping[str, str]) -> tuple[Any, yaml.Node] | None:
        """A file with its parameters filled in, decoded as far as it can be, and its root."""
        text = self._files.read(name)
        self._digest.update(f"{len(text)}:{text}".encode())
        root, mistakes = source.parse(text)
        self._note(name, mistakes)
        if not isinstance(root, yaml.MappingNode):
            if root is not None:
                self._note(name, [Mistake(path="", found=source.found(root), expected="a mapping", line=1)])
            return None
        values = Values(self._declared(root), given, examples=self._examples)
        try:
            filled = values.put_into(root, "")
        except RecursionError:
            self._note(name, [Mistake(path="", found="endless nesting", expected="a plan", line=1)])
            return None
        self._note(name, values.mistakes)
        decoder = new_decoder()
        plan = decoder.decode(filled, inspect.type_info(kind))
        self._note(name, decoder.mistakes)
        return (None if plan is INVALID else plan), filled

    @staticmethod
    def _declared(root: yaml.MappingNode) -> dict[str, ParameterEntry]:
        """The parameters of a file, whatever else is wrong with it."""
        node = child(root, "parameters")
        if node is None:
            return {}
        decoder = new_decoder()
        found = decoder.decode(node, inspect.type_info(dict[Name, ParameterEntry]), "parameters")
        return found if isinstance(found, dict) else {}

    def _steps(self, root: yaml.Node, file: str, chain: tuple[str, ...]) -> Iterable[Placed]:
        node = child(root, "steps")
        if not isinstance(node, yaml.SequenceNode):
            return
        for index, item in enumerate(node.value):
            path = f"steps[{index}]"
            if child(item, "include") is not None:
                yield from self._included(item, file, path, chain)
            elif child(item, "parallel") is not None:
                yield from self._parallel(item, file, path)
            elif (step := self._decode(item, StepEntry, file, path)) is not None:
                yield Placed(step=step, group="", file=file, path=path, node=item)

    def _parallel(self, item: yaml.Node, file: str, path: str) -> Iterable[Placed]:
        inner = child(item, "parallel")
        if not isinstance(inner, yaml.SequenceNode) or len(inner.value) < _LEAST_PARALLEL:
            found = f"{len(inner.value)} of them" if isinstance(inner, yaml.SequenceNode) else "no list"
            self._note(file, [_at(item, f"{path}.parallel", found, "a list of at least two steps")])
            return
        for key, _ in source.pairs(item) if isinstance(item, yaml.MappingNode) else ():
            if str(key.value) != "parallel":
                self._note(file, [_at(key, f"{path}.{key.value}", "an unknown key", "parallel and nothing beside it")])
        self._groups += 1
        group = f"parallel-{self._groups}"
        for index, node in enumerate(inner.value):
            place = f"{path}.parallel[{index}]"
            step = self._decode(node, StepEntry, file, place)
            if step is not None:
                yield Placed(step=step, group=group, file=file, path=place, node=node)

    def _included(self, item: yaml.Node, file: str, path: str, chain: tuple[str, ...]) -> Iterable[Placed]:
        entry = self._decode(item, IncludeEntry, file, path)
        if entry is None:
            return
        here = f"{path}.include"
        if entry.include in chain or len(chain) > _DEEPEST:
            self._note(file, [_at(item, here, f"{entry.include!r}, which includes itself", "a fragment that does not")])
            return
        try:
            opened = self._open(entry.include, FragmentFile, entry.params)
        except RejectedError as error:
            self._note(file, [_at(item, here, repr(entry.include), error.message)])
            return
        if opened is not None:
            yield from self._steps(opened[1], entry.include, (*chain, entry.include))

    def _decode(self, node: yaml.Node, kind: type, file: str, path: str) -> Any:
        decoder = new_decoder()
        found = decoder.decode(node, inspect.type_info(kind), path)
        self._note(file, decoder.mistakes)
        return None if found is INVALID else found

    def _note(self, file: str, mistakes: Iterable[Mistake]) -> None:
        self.mistakes += [PlanMistake(file=file, mistake=mistake) for mistake in mistakes]


def new_decoder() -> Decoder:
    """Goes on after every mistake; plans hold no targets and no secrets."""
    return Decoder(vocabulary=Vocabulary(kinds={}), environ={}, needs=())


def child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """What stands at a key of a mapping; None when it is none or has no such key."""
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in source.pairs(node) if getattr(name, "value", None) == key), None)


def _at(node: yaml.Node, path: str, found: str, expected: str) -> Mistake:
    return Mistake(path=path, found=found, expected=expected, line=source.line_of(node))

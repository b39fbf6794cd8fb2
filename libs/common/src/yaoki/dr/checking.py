"""What the form of a plan cannot say: commands, references and the order of steps. All mistakes at once. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import inspect

from yaoki.config.mistakes import Mistake, did_you_mean, one_of, shown
from yaoki.config.source import line_of
from yaoki.dr.reading import PlanMistake, child, new_decoder
from yaoki.dr.vocabulary import COMMANDS
from yaoki.errors import RejectedError
from yaoki.plans import GOAL_STEP, Effect, StepKind
from yaoki.runs.references import mentions
from yaoki.subjects import token

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml

    from yaoki.dr.plan_file import CallEntry
    from yaoki.dr.reading import Placed, ReadPlan

FACTS = frozenset({"id", "kind", "resource", "epoch", "class", "severity", "detected_at", "by"})
"""What a plan may refer to as `${run.<name>}`."""

_RESERVED = (GOAL_STEP, "run", "param")
APPROVE = "approve-"
"""Begins the name of the step that waits for a person before another begins."""


def check_read(plan: ReadPlan) -> Iterator[PlanMistake]:
    """Everything that is wrong beyond single fields."""
    yield from _resource(plan)
    yield from _names(plan)
    known: dict[str, str] = {}
    waiting: dict[str, str] = {}
    group = ""
    for placed in plan.steps:
        if placed.group != group or not placed.group:
            known |= waiting
            waiting, group = {}, placed.group
        yield from _step(placed, known)
        waiting[placed.step.id] = placed.step.do.command
    if plan.file.verify is not None:
        node = child(plan.node, "verify")
        yield from _call(plan.name, "verify", node or plan.node, plan.file.verify, known | waiting)


def _resource(plan: ReadPlan) -> Iterator[PlanMistake]:
    try:
        token(plan.file.resource)
    except RejectedError:
        node = child(plan.node, "resource") or plan.node
        expected = "a name of a-z, 0-9, '-' and '_', starting with a letter or digit"
        yield _at(plan.name, node, "resource", shown(plan.file.resource), expected)


def _names(plan: ReadPlan) -> Iterator[PlanMistake]:
    first: dict[str, Placed] = {}
    for placed in plan.steps:
        name = placed.step.id
        where = f"{placed.path}.id"
        if name in _RESERVED or name.startswith(APPROVE):
            yield _wrong(placed, where, shown(name), f"another name; {one_of(_RESERVED)} and {APPROVE}... are taken")
        elif name in first:
            other = first[name]
            yield _wrong(
                placed, where, f"{shown(name)} a second time (first in {other.file})", "each name once in a plan"
            )
        first.setdefault(name, placed)


def _step(placed: Placed, known: dict[str, str]) -> Iterator[PlanMistake]:
    step, path = placed.step, placed.path
    for field, call in (("do", step.do), ("verify", step.verify), ("undo", step.undo)):
        if call is not None:
            own = {} if field == "do" else {step.id: step.do.command}
            node = child(placed.node, field) or placed.node
            yield from _call(placed.file, f"{path}.{field}", node, call, known | own)
    command = COMMANDS.get(step.do.command)
    if step.awaits is not None and command is not None and step.awaits != command.awaits:
        yield _wrong(placed, f"{path}.awaits", shown(step.awaits), f"{command.awaits}, which ends {step.do.command}")
    if step.estimated > step.timeout:
        yield _wrong(placed, f"{path}.estimated", f"{step.estimated:g} s", f"at most the timeout, {step.timeout:g} s")
    if step.kind is StepKind.FORWARD and step.undo is not None:
        yield _wrong(placed, f"{path}.undo", "a command", "nothing: a forward step is never taken back")
    if placed.group and step.approval is not None:
        yield _wrong(placed, f"{path}.approval", "a question", "it at a step before the parallel ones")
    if step.effect is not Effect.IDEMPOTENT and step.do.command != "agent.order":
        yield _wrong(
            placed, f"{path}.effect", shown(step.effect.value), f"idempotent: {step.do.command} may be ordered again"
        )


def _call(file: str, path: str, node: yaml.Node, call: CallEntry, known: dict[str, str]) -> Iterator[PlanMistake]:
    command = COMMANDS.get(call.command)
    if command is None:
        names = sorted(COMMANDS)
        yield _at(
            file,
            node,
            f"{path}.command",
            shown(call.command),
            f"a command: {one_of(names)}",
            hint=did_you_mean(call.command, names),
        )
        return
    params = child(node, "params")
    decoder = new_decoder()
    here = f"{path}.params"
    if params is not None:
        decoder.decode(params, inspect.type_info(command.params), here)
        yield from (PlanMistake(file=file, mistake=mistake) for mistake in decoder.mistakes)
    else:
        fields = inspect.type_info(command.params)
        required = [one.encode_name for one in getattr(fields, "fields", ()) if one.required]
        if required:
            yield _at(file, node, here, "nothing", f"a mapping with {', '.join(required)}")
    yield from _references(file, here, node, call, known)


def _references(file: str, path: str, node: yaml.Node, call: CallEntry, known: dict[str, str]) -> Iterator[PlanMistake]:
    for owner, field in mentions(call.params):
        found = shown(f"${{{owner}.{field}}}")
        name = field.split(".")[0]
        if owner == "run":
            if name not in FACTS:
                yield _at(file, node, path, found, f"a fact of the run: {one_of(sorted(FACTS))}")
        elif owner not in known:
            steps = one_of(sorted(known))
            yield _at(file, node, path, found, f"an earlier step: {steps}", hint=did_you_mean(owner, known))
        else:
            command = COMMANDS.get(known[owner])
            if command is not None and command.result is not None and name not in command.result:
                fields = one_of(sorted(command.result))
                yield _at(file, node, path, found, f"a result of {known[owner]}: {fields}")


def _wrong(placed: Placed, path: str, found: str, expected: str) -> PlanMistake:
    return _at(placed.file, placed.node, path, found, expected)


def _at(file: str, node: yaml.Node, path: str, found: str, expected: str, *, hint: str = "") -> PlanMistake:
    mistake = Mistake(path=path, found=found, expected=expected, hint=hint, line=line_of(node))
    return PlanMistake(file=file, mistake=mistake)

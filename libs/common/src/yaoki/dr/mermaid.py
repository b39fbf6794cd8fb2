"""A plan as a picture: Mermaid text, which GitHub and most editors draw. Pure."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from yaoki.config.forms import format_duration
from yaoki.dr.compiling import is_approval
from yaoki.dr.vocabulary import COMMANDS, COORDINATOR, REPLY
from yaoki.plans import StepKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki.dr.compiling import DrPlan
    from yaoki.plans import Call, Step


def picture(plan: DrPlan) -> str:
    """A flow chart from above to below.

    A box is a step, with what ends it and how long it usually takes; a lozenge waits for a person; a hexagon is a point
    of no return. A dotted line leads to what takes a step back.
    """
    return "\n".join(["flowchart TD", *_lines(plan)]) + "\n"


def _lines(plan: DrPlan) -> Iterator[str]:
    yield "  begin([begin])"
    before = ["begin"]
    grouped = itertools.groupby(plan.steps, key=lambda step: step.group or step.id)
    for number, steps in enumerate([list(members) for _, members in grouped], 1):
        nodes = [_node(step.id) for step in steps]
        if len(steps) > 1:
            yield f'  subgraph group{number}["at the same time"]'
            yield from (f"  {_box(plan, step)}" for step in steps)
            yield "  end"
        else:
            yield _box(plan, steps[0])
        yield from (f"  {one} --> {node}" for one in before for node in nodes)
        yield from _undoing(steps)
        before = nodes
    if plan.plan.branches[0].verify is not None:
        yield f'  goal["{_words(plan.plan.branches[0].verify)}"]'
        yield from (f"  {node} --> goal" for node in before)
        before = ["goal"]
    yield "  over([over])"
    yield from (f"  {node} --> over" for node in before)


def _undoing(steps: list[Step]) -> Iterator[str]:
    for step in steps:
        if step.undo is not None:
            yield f'  {_node(step.id)} -.-> undo_{_node(step.id)}["{step.undo.action}"]'


def _box(plan: DrPlan, step: Step) -> str:
    node = _node(step.id)
    if is_approval(step):
        return f'  {node}{{"a person agrees"}}'
    parts = [f"<b>{step.id}</b>", _words(step.do)]
    if title := plan.titles.get(step.id):
        parts.insert(1, _escaped(title))
    if step.verify is not None:
        parts.append(f"then {_words(step.verify)}")
    if step.estimated_s:
        parts.append(f"about {format_duration(step.estimated_s)}")
    text = "<br/>".join(parts)
    return f'  {node}{{{{"{text}"}}}}' if step.kind is StepKind.PIVOT else f'  {node}["{text}"]'


def _words(call: Call) -> str:
    if call.worker != COORDINATOR:
        return _escaped(f"{call.action} by {call.worker}")
    awaits = COMMANDS[call.action].awaits
    return call.action if awaits == REPLY else f"{call.action} until {awaits}"


def _node(step: str) -> str:
    """`end` and other words of Mermaid's own must not be names of nodes."""
    return f"s_{step.replace('-', '_')}"


def _escaped(text: str) -> str:
    return text.replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")

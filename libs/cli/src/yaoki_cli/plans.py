"""`yaoki plan`: checks and shows plans for disasters, and says what one would order. Needs no NATS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
import msgspec
from rich.console import Console
from yaoki.config import load_config
from yaoki.config.forms import format_duration
from yaoki.dr import PlanErrors, PlanLibrary
from yaoki.dr.mermaid import picture
from yaoki.dr.naming import unknown_names
from yaoki.dr.vocabulary import COMMANDS, COORDINATOR
from yaoki.errors import RejectedError

if TYPE_CHECKING:
    from yaoki.dr import DrPlan
    from yaoki.plans import Call, Step

app = cyclopts.App(name="plan", help="Check and show plans for disasters.", result_action="return_value")
_console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)
_WRONG = 2

Folder = Annotated[Path | None, cyclopts.Parameter(name="--plans", help="Your own plans, beside the built-in ones.")]
Settings = Annotated[
    list[str] | None, cyclopts.Parameter(name="--set", help="Value of a parameter, name=value; may be repeated.")
]
ConfigFile = Annotated[
    Path | None, cyclopts.Parameter(name="--config", help="Check that targets and agents are in this configuration.")
]


@app.command
def check(*names: str, plans: Folder = None) -> int:
    """Say every mistake in the plans of these names, or in all; ends with 2 if there is one."""
    library = PlanLibrary(plans)
    wrong = 0
    for name in names or library.names():
        try:
            plan = library.load(name, examples=True)
        except RejectedError as error:
            _errors.print(error.message, markup=False, soft_wrap=True)
            wrong += 1
        else:
            estimated, promised = plan.estimated_s, plan.objectives.rto_s
            late = "" if estimated <= promised else f"; more than the {format_duration(promised)} promised"
            steps = "1 step" if len(plan.steps) == 1 else f"{len(plan.steps)} steps"
            _say(f"{name}: valid, {steps}, about {format_duration(estimated)}{late}")
    return _WRONG if wrong else 0


@app.command
def show(
    name: str,
    *,
    plans: Folder = None,
    set_: Settings = None,
    mermaid: Annotated[bool, cyclopts.Parameter(name="--mermaid", negative=(), help="As a Mermaid picture.")] = False,
) -> int:
    """Print a plan; examples stand for parameters without a value."""
    plan = _loaded(name, plans, set_, examples=True)
    if plan is None:
        return _WRONG
    if mermaid:
        _console.file.write(picture(plan))
        return 0
    for line in outline(plan):
        _say(line)
    return 0


@app.command
def dry_run(name: str, *, plans: Folder = None, set_: Settings = None, config: ConfigFile = None) -> int:
    """Say what a run with these values would order, and order nothing; every parameter needs a value."""
    plan = _loaded(name, plans, set_, examples=False)
    if plan is None:
        return _WRONG
    unknown = [] if config is None else unknown_names(plan, load_config(config, needs=()))
    for sentence in unknown:
        _errors.print(sentence, markup=False, soft_wrap=True)
    if unknown:
        return _WRONG
    for line in outline(plan):
        _say(line)
    _say("nothing was ordered")
    return 0


def outline(plan: DrPlan) -> list[str]:
    """A plan for a terminal, a line for each thing that it orders."""
    rto = f"{format_duration(plan.objectives.rto_s)} promised, about {format_duration(plan.estimated_s)} estimated"
    lines = [
        f"{plan.name}: {plan.title}",
        f"version {plan.version[:12]}, hash {plan.plan.digest()}",
        f"severity {plan.severity.value}: {rto}; works on {plan.resource}",
    ]
    if plan.examples:
        lines.append(f"examples stand for: {', '.join(plan.examples)}")
    for number, step in enumerate(plan.steps, 1):
        lines += _step_lines(number, step)
    verify = plan.plan.branches[0].verify
    return [*lines, *([f"over when: {_words(verify)}"] if verify is not None else [])]


def _step_lines(number: int, step: Step) -> list[str]:
    beside = f" (with the others of {step.group})" if step.group else ""
    kind = "" if step.kind.value == "compensable" else f", {step.kind.value}"
    estimated = f"about {format_duration(step.estimated_s)}, " if step.estimated_s else ""
    times = f"{estimated}at most {format_duration(step.timeout_s)}"
    lines = [f"{number}. {step.id}{beside}: {_words(step.do)}", f"   {times}{kind}"]
    if step.verify is not None:
        lines.append(f"   verified by: {_words(step.verify)}")
    if step.undo is not None:
        lines.append(f"   taken back by: {_words(step.undo)}")
    return lines


def _words(call: Call) -> str:
    params = f" {msgspec.json.encode(call.params).decode()}" if call.params else ""
    if call.worker != COORDINATOR:
        return f"{call.action}{params} by {call.worker}, until its reply"
    return f"{call.action}{params}, until {COMMANDS[call.action].awaits}"


def _loaded(name: str, plans: Path | None, given: list[str] | None, *, examples: bool) -> DrPlan | None:
    try:
        return PlanLibrary(plans).load(name, _values(given or []), examples=examples)
    except PlanErrors as error:
        _errors.print(error.message, markup=False, soft_wrap=True)
        return None


def _values(given: list[str]) -> dict[str, str]:
    values = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise RejectedError(f"--set {item!r}: expected name=value")
        values[name] = value
    return values


def _say(line: str) -> None:
    _console.print(line, markup=False, soft_wrap=True)

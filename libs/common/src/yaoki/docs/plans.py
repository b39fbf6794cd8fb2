"""`docs/plans.md` and `schema/yaoki.plan.schema.json`: the plans that there are, and what may stand in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from yaoki.config.forms import format_duration
from yaoki.docs.docstrings import described
from yaoki.docs.schemas import components
from yaoki.docs.words import default_words, form_of, type_words
from yaoki.dr.library import PlanLibrary
from yaoki.dr.mermaid import picture
from yaoki.dr.plan_file import (
    ApprovalEntry,
    CallEntry,
    FragmentFile,
    IncludeEntry,
    ParallelEntry,
    ParameterEntry,
    PlanFile,
    StepEntry,
)
from yaoki.dr.vocabulary import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki.dr.compiling import DrPlan

PLAN_SCHEMA_PATH = "schema/yaoki.plan.schema.json"
INTRODUCTION = """\
# Plans

What Yaoki does in a disaster is written in plans, one YAML file each. This page shows the plans that Yaoki brings, the
commands that a step may order, and the keys of a plan. `yaoki plan check` says every mistake in a plan at once,
`yaoki plan show` prints one, `yaoki plan dry-run` says with an installation's own values what would be ordered.

For completion and checks in an editor, begin a plan with

```yaml
# yaml-language-server: $schema=schema/yaoki.plan.schema.json
```

Texts may hold `${param.<name>}`, which is filled in when the plan is read, `${<step>.<field>}`, a result of an earlier
step, and `${run.<name>}`, a fact of the run: its `id`, `class`, `severity`, `detected_at` and who started it, `by`.

In the pictures a box is a step, a lozenge waits for a person, a hexagon is a point of no return: once it has happened
nothing is taken back any more. Dotted lines lead to what takes a step back when a later one fails.
"""
_ENTRIES = (
    PlanFile,
    StepEntry,
    ParallelEntry,
    IncludeEntry,
    CallEntry,
    ApprovalEntry,
    ParameterEntry,
    FragmentFile,
)


def plans_page() -> str:
    """The reference as Markdown."""
    library = PlanLibrary()
    plans = [library.load(name, examples=True) for name in library.names()]
    return "\n".join([INTRODUCTION, *_overview(plans), *_pictures(plans), *_commands(), *_keys()]).rstrip() + "\n"


def plan_schema() -> str:
    """The JSON Schema as text: a plan, or a fragment."""
    schemas = components(list(_ENTRIES), "#/$defs/{name}")
    choices = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in (StepEntry, ParallelEntry, IncludeEntry)]
    for file in (PlanFile, FragmentFile):
        schemas[file.__name__]["properties"]["steps"]["items"] = {"anyOf": choices}
    for kind in (CallEntry, ApprovalEntry):
        full = schemas[kind.__name__]
        short = full["properties"][kind.shorthand]
        schemas[kind.__name__] = {"description": full.pop("description"), "anyOf": [short, full]}
    document: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://yaoki.dev/schema/yaoki.plan.schema.json",
        "title": "a plan of Yaoki",
        "anyOf": [{"$ref": "#/$defs/PlanFile"}, {"$ref": "#/$defs/FragmentFile"}],
        "$defs": schemas,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _overview(plans: list[DrPlan]) -> Iterator[str]:
    yield "## The plans that Yaoki brings\n"
    yield "| plan | what it does | severity | recovery time | estimated |\n|---|---|---|---|---|"
    for plan in plans:
        link = f"[`{plan.name}`](#{plan.name})"
        promised, estimated = format_duration(plan.objectives.rto_s), format_duration(plan.estimated_s)
        yield f"| {link} | {plan.title} | {plan.severity.value} | {promised} | {estimated} |"
    yield "\nWaiting for approvals is not in the estimates, but counts in what is measured.\n"


def _pictures(plans: list[DrPlan]) -> Iterator[str]:
    for plan in plans:
        yield f"### {plan.name}\n"
        yield f"{plan.title}\n"
        if plan.approvals:
            yield f"A person has to agree before: {', '.join(f'`{step}`' for step in plan.approvals)}.\n"
        yield f"```mermaid\n{picture(plan)}```\n"


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    for name, command in sorted(COMMANDS.items()):
        docs = described(command.params)
        results = "what the hand answers" if command.result is None else ", ".join(sorted(command.result)) or "nothing"
        yield f"### {name}\n\n{docs.text}\n"
        yield f"Ends with: {command.awaits}. Results: {results}.\n"
        yield from _table(command.params)


def _keys() -> Iterator[str]:
    yield "## Keys of a plan\n"
    for kind in _ENTRIES:
        yield f"### {kind.__name__}\n\n{described(kind).text}\n"
        yield from _table(kind)


def _table(kind: type) -> Iterator[str]:
    info = inspect.type_info(kind)
    texts = described(kind).fields
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for field in getattr(info, "fields", ()):
        words, default = type_words(field.type), default_words(field, form_of(field.type))
        yield f"| `{field.encode_name}` | {words} | {default} | {texts.get(field.name, '')} |"
    yield ""

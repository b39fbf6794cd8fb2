"""Whether what a plan names is in the configuration of an installation. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import inspect

from yaoki.config.mistakes import did_you_mean, one_of, shown
from yaoki.dr.vocabulary import COMMANDS, COORDINATOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki.config.model import Config
    from yaoki.dr.compiling import DrPlan
    from yaoki.plans import Call

_AGENT = "agent-"


def unknown_names(plan: DrPlan, config: Config) -> list[str]:
    """Every name in the plan that the configuration does not have, one sentence each."""
    known = {
        "targets": config.targets.keys(),
        "backup.targets": config.backup.targets.keys(),
        "agents": config.agents.keys(),
    }
    sentences = []
    for where, mapping, name in _named(plan):
        names = sorted(known[mapping])
        if name not in names:
            hint = did_you_mean(name, names)
            expected = f"{where}: found {shown(name)}, expected a name out of {mapping}: {one_of(names)}"
            sentences.append(f"{expected} ({hint})" if hint else expected)
    return list(dict.fromkeys(sentences))


def _named(plan: DrPlan) -> Iterator[tuple[str, str, str]]:
    """Where, out of which mapping, and the name."""
    for step in plan.steps:
        for field, call in (("do", step.do), ("verify", step.verify), ("undo", step.undo)):
            if call is not None:
                yield from _of_call(f"step {step.id} {field}", call)
    verify = plan.plan.branches[0].verify
    if verify is not None:
        yield from _of_call("verify", verify)


def _of_call(where: str, call: Call) -> Iterator[tuple[str, str, str]]:
    if call.worker != COORDINATOR:
        yield where, "agents", call.worker.removeprefix(_AGENT)
        return
    info: Any = inspect.type_info(COMMANDS[call.action].params)
    for field in info.fields:
        mapping = (getattr(field.type, "extra", None) or {}).get("of")
        value = call.params.get(field.encode_name)
        if mapping and value and "${" not in str(value):
            yield where, mapping, str(value)

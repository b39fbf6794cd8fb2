"""References in calls: `${run.<fact>}` and `${<step>.<field>}`. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from yaoki.errors import RejectedError
from yaoki.plans import Call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki.runs.state import RunState

_REFERENCE = re.compile(r"\$\{([a-z0-9][a-z0-9_-]*)\.([A-Za-z0-9_.-]+)\}")


def resolve(call: Call, state: RunState) -> Call:
    """The call with every reference replaced; a string that is one reference takes the value with its type.

    Raises:
        RejectedError: Names the reference, and what there is instead.
    """
    if not mentions(call):
        return call
    worker = _resolve(call.worker, state)
    if not isinstance(worker, str):
        raise RejectedError(f"worker {call.worker!r} resolves to {worker!r}, expected the name of a worker")
    return msgspec.structs.replace(call, worker=worker, params=_resolve(call.params, state))


def mentions(value: object) -> list[tuple[str, str]]:
    """All references in a call or value, as (step or `run`, field)."""
    return list(_mentions(value))


def _mentions(value: object) -> Iterator[tuple[str, str]]:
    match value:
        case Call():
            yield from _mentions(value.worker)
            yield from _mentions(value.params)
        case str():
            if "${" in value:
                for match in _REFERENCE.finditer(value):
                    yield match[1], match[2]
        case dict():
            for item in value.values():
                yield from _mentions(item)
        case list() | tuple():
            for item in value:
                yield from _mentions(item)
        case _:
            return


def _resolve(value: Any, state: RunState) -> Any:
    match value:
        case str() if "${" in value:
            whole = _REFERENCE.fullmatch(value)
            if whole is not None:
                return _look_up(whole[1], whole[2], state)
            return _REFERENCE.sub(lambda match: _as_text(_look_up(match[1], match[2], state)), value)
        case dict():
            return {key: _resolve(item, state) for key, item in value.items()}
        case list() | tuple():
            return [_resolve(item, state) for item in value]
        case _:
            return value


def _look_up(owner: str, path: str, state: RunState) -> Any:
    source = _run_facts(state) if owner == "run" else state.result(owner)
    reference = f"${{{owner}.{path}}}"
    if source is None:
        raise RejectedError(f"reference {reference}: step {owner!r} has no result; it must succeed before this step")
    found: Any = source
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            known = ", ".join(sorted(found)) if isinstance(found, dict) else type(found).__name__
            raise RejectedError(f"reference {reference}: there is no {name!r}; known are: {known or 'none'}")
        found = found[name]
    return found


def _run_facts(state: RunState) -> dict[str, Any]:
    own = {"id": state.run_id, "kind": state.run_kind, "resource": state.resource, "epoch": list(_pair(state))}
    return {**own, **state.facts}


def _pair(state: RunState) -> tuple[int, int]:
    return state.epoch.incarnation, state.epoch.counter


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

"""Named points that production code passes through, where a test may pause, raise or kill.

An unarmed point costs one look into an empty dictionary. Points are armed in the process by `armed`, or for a
child process by the environment: `YAOKI_FAULT=<point>:kill` (SIGKILL to itself) at the first pass, or
`YAOKI_FAULT=<point>:kill:3` at the third.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_actions: dict[str, Callable[[], None]] = {}


def point(name: str) -> None:
    """Pass through the point `name`; does nothing unless a test has armed it."""
    if _actions:
        action = _actions.get(name)
        if action is not None:
            action()


@contextmanager
def armed(name: str, action: Callable[[], None]) -> Iterator[None]:
    """Run `action` whenever the point `name` is passed within the block; it may raise."""
    previous = _actions.get(name)
    _actions[name] = action
    try:
        yield
    finally:
        if previous is None:
            _actions.pop(name, None)
        else:
            _actions[name] = previous


def kill_on_pass(count: int = 1) -> Callable[[], None]:
    """An action that ends this process with SIGKILL at the `count`-th pass."""
    remaining = count

    def action() -> None:
        nonlocal remaining
        remaining -= 1
        if remaining <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return action


def _arm_from_environment(value: str) -> None:
    """`<point>:kill[:<pass>]`, several separated by commas."""
    for item in filter(None, value.split(",")):
        name, _, rest = item.partition(":")
        action, _, count = rest.partition(":")
        if action != "kill":
            raise ValueError(f"YAOKI_FAULT={item!r}: expected <point>:kill or <point>:kill:<pass>")
        _actions[name] = kill_on_pass(int(count or 1))


_arm_from_environment(os.environ.get("YAOKI_FAULT", ""))

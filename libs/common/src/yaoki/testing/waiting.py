"""Waiting for a condition with a deadline, so that no test sleeps for a fixed time."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_POLL_S = 0.02
# Deadlines are there to end what hangs, not to measure: a machine shared with others gets more of them.
_PATIENCE = float(os.environ.get("YAOKI_PATIENCE", "1"))


def patient(seconds: float) -> float:
    """Return a deadline in seconds, stretched by the environment's YAOKI_PATIENCE: for calls that take a timeout."""
    return seconds * _PATIENCE


@overload
async def eventually(condition: Callable[[], Awaitable[T]], within: float = ..., *, poll: float = ...) -> T: ...


@overload
async def eventually(condition: Callable[[], T], within: float = ..., *, poll: float = ...) -> T: ...


async def eventually(condition: Callable[[], T | Awaitable[T]], within: float = 5.0, *, poll: float = _POLL_S) -> T:
    """Return the condition's first true value.

    An AssertionError from the condition counts as not yet, so that a condition may be written with `assert`.

    Args:
        condition: Called again and again; may be a coroutine function.
        within: Deadline, seconds, as of `patient`.
        poll: Pause between two calls, seconds.

    Raises:
        AssertionError: The deadline passed; says what the condition returned or asserted last.
    """
    deadline = time.monotonic() + patient(within)
    while True:
        cause: AssertionError | None = None
        value: T | None = None
        try:
            answer = condition()
            value = await answer if inspect.isawaitable(answer) else answer
        except AssertionError as error:
            cause = error
        if value:
            return value
        if time.monotonic() > deadline:
            last = str(cause) if cause is not None else repr(value)
            raise AssertionError(f"not true within {within} s; at last: {last}") from cause
        await asyncio.sleep(poll)

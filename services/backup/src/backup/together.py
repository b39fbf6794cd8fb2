"""Several pieces of work at the same time, as one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any


async def together(
    *work: Coroutine[Any, Any, Any],
    on_failure: Callable[[], None] = lambda: None,
    consequence: type[Exception] | None = None,
) -> None:
    """Run all to their end. The first failure ends the others and is raised as it is, without a group around it.

    Args:
        work: What to run.
        on_failure: Called before the others are ended, for what a cancellation cannot reach.
        consequence: An error that only follows from another one, which is raised instead where there is one.
    """
    tasks = [asyncio.create_task(one) for one in work]
    if not tasks:
        return
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        errors = [error for task in tasks if task in done and (error := task.exception()) is not None]
        causes = [error for error in errors if consequence is None or not isinstance(error, consequence)]
        if errors:
            raise (causes or errors)[0]
    finally:
        on_failure()
        await end_tasks(tasks)

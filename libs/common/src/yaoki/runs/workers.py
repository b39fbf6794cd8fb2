"""Who carries out a call: in this process, or somebody over the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.errors import ErrorCode, RejectedError
from yaoki.runs.durable_worker import DurableWorker
from yaoki.runs.local_worker import LocalWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from yaoki.runs.ports import Worker


class Workers:
    """Finds workers by the name that stands in a call.

    Args:
        local: Workers in this process.
        remote: Makes the worker for every other name; None when there are no others.
    """

    def __init__(
        self, local: Mapping[str, Worker] | None = None, remote: Callable[[str], Worker] | None = None
    ) -> None:
        self._local = dict(local or {})
        self._remote = remote

    def find(self, name: str) -> Worker:
        """The worker of this name.

        Raises:
            RejectedError: Nobody has it; lists who there is.
        """
        worker = self._local.get(name)
        if worker is not None:
            return worker
        if self._remote is None:
            known = ", ".join(sorted(self._local)) or "none"
            raise RejectedError(f"there is no worker {name!r}; known are: {known}", code=ErrorCode.NOT_FOUND)
        return self._remote(name)

    async def stop(self) -> None:
        """Stop what runs in this process."""
        for worker in self._local.values():
            if isinstance(worker, (LocalWorker, DurableWorker)):
                await worker.stop()

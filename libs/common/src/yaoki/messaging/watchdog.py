"""Ends a process whose event loop stands still: it would be deaf to health checks and SIGTERM alike."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading

from yaoki.tasks import end_tasks

EXIT_FROZEN = 70
_TICK_S = 0.5


class LoopWatchdog:
    """A thread that ends the process with status 70 when the event loop stands still.

    It counts its own ticks rather than time, so that a suspended machine, where thread and loop stood still
    together, is not taken for a frozen loop.

    Args:
        limit_s: How long the loop may stand still, seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._allowed = max(2, round(limit_s / _TICK_S))
        self._missed = 0
        self._stopping = threading.Event()
        self._beat: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._watch, name="yaoki-loop-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch the running loop."""
        self._beat = asyncio.get_running_loop().create_task(self._beating(), name="yaoki-loop-beat")
        self._thread.start()

    async def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()
        if self._beat is not None:
            await end_tasks([self._beat])

    async def _beating(self) -> None:
        while True:
            self._missed = 0
            await asyncio.sleep(_TICK_S)

    def _watch(self) -> None:
        while not self._stopping.wait(_TICK_S):
            self._missed += 1
            if self._missed > self._allowed:
                end_process(f"the event loop has stood still for {self._limit_s} s")


def end_process(reason: str) -> None:
    """Say why, print every thread's stack, and end with status 70 at once; a supervisor starts it again."""
    sys.stderr.write(f"yaoki: {reason}; ending with status {EXIT_FROZEN}\n")
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    sys.stderr.flush()
    # Not sys.exit: the loop may be what is broken.
    os._exit(EXIT_FROZEN)

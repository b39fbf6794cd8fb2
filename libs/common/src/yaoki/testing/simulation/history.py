"""Plays a run from its start to its end, with processes that die and are replaced."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from yaoki.errors import TransientError
from yaoki.runs.fold import fold
from yaoki.tasks import end_tasks
from yaoki.testing.simulation.process import Crash, Process

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yaoki.runs import RunExecutor, RunState, StartRun
    from yaoki.runs.ports import Recorded
    from yaoki.testing.simulation.hosts import Effect
    from yaoki.testing.simulation.world import World

_LOOK_S = 0.5
_AGAIN_S = 1.0
_AFTERMATH_S = 20.0


class NothingHappenedError(AssertionError):
    """A history without any effect proves nothing."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run.

    Attributes:
        entries: Its journal at the end.
        state: Its fold.
        effects: Everything that was done to the world, in order, late deliveries after the end included.
        deaths: How many executors died.
        prefixes: The journal as it was at each death.
    """

    entries: list[Recorded]
    state: RunState
    effects: list[Effect]
    deaths: int
    prefixes: list[list[Recorded]]


class _Play:
    def __init__(self, world: World, start: StartRun, crashes: tuple[Crash, ...]) -> None:
        self.world = world
        self.start = start
        self.crashes = list(crashes)
        self.prefixes: list[list[Recorded]] = []
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Another process, which will die as the next crash says."""
        name = f"instance-{len(self.tasks) + 1}"
        process = Process(name, self.crashes.pop(0) if self.crashes else None)
        self.tasks.append(asyncio.create_task(self._live(process), name=name))

    async def _live(self, process: Process) -> None:
        executor = self.world.executor(process, run_kind=self.start.run_kind)
        work = [asyncio.create_task(executor.supervise()), asyncio.create_task(self._start(executor))]
        while not process.dead:
            await self.world.clock.sleep(_LOOK_S)
        self.prefixes.append(list(await self.entries()))
        self.begin()
        await end_tasks(work)

    async def _start(self, executor: RunExecutor) -> None:
        """As a service does: a message that could not be handled comes again, here and to every instance."""
        while True:
            with contextlib.suppress(TransientError):
                await executor.start(self.start)
                return
            await self.world.clock.sleep(_AGAIN_S)

    async def entries(self) -> list[Recorded]:
        return await self.world.journal.load(self.start.run_kind, self.start.run_id)

    async def ended(self) -> tuple[list[Recorded], RunState]:
        while True:
            entries = await self.entries()
            state = fold(entries)
            if state is not None and state.ending is not None:
                return entries, state
            await self.world.clock.sleep(_LOOK_S)


async def play(
    world: World,
    start: StartRun,
    *,
    crashes: tuple[Crash, ...] = (),
    instances: int = 1,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
    within_s: float = 3600.0,
) -> History:
    """Start a run and see it to its end, and what was sent to where it goes.

    Args:
        world: Fresh.
        start: Every process tries to start it, as redelivered messages would have it.
        crashes: One for each process that dies, in this order; its place is taken by another.
        instances: How many processes there are at a time.
        meanwhile: Whatever else happens, e.g. to hosts.
        within_s: Of virtual time.

    Raises:
        NothingHappenedError: No order took effect.
        TimeoutError: The run did not end.
    """
    playing = _Play(world, start, crashes)
    for _ in range(instances):
        playing.begin()
    other = asyncio.ensure_future(meanwhile()) if meanwhile is not None else None
    async with asyncio.timeout(within_s):
        _, state = await playing.ended()
    await world.clock.sleep(_AFTERMATH_S)
    entries = await playing.entries()
    for task in (*playing.tasks, other):
        if task is not None:
            task.cancel()
    if not world.doing.effects:
        raise NothingHappenedError(f"run {start.run_id} ended {state.ending} and no order took effect")
    return History(
        entries=entries,
        state=state,
        effects=list(world.doing.effects),
        deaths=len(playing.prefixes),
        prefixes=playing.prefixes,
    )

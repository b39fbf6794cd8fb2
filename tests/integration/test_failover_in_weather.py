"""Faults at random, one or two at once, round after round: one writer at a time, and nothing lost."""

from __future__ import annotations

import logging
import os
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from yaoki.events.recovery import PrimaryPromoted
from yaoki.flags import RouteState
from yaoki.testing import eventually

from .harness import DualWriter, RescueSystem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .harness import Attempt

pytestmark = [pytest.mark.chaos, pytest.mark.real, pytest.mark.timeout(7200)]

ROUNDS: Final = int(os.environ.get("YAOKI_CHAOS_ROUNDS", "10"))
SOME_WRITES: Final = 20
ATTEMPTS_IN_WEATHER: Final = (20, 400)
CALM_S: Final = 120.0
_log = logging.getLogger(__name__)


class Weather:
    """Breaks parts of a system at random and mends them again: PostgreSQL and its repair are left to the system."""

    def __init__(self, system: RescueSystem, random: Random) -> None:
        self._system = system
        self._random = random
        self._mend: list[Callable[[], Awaitable[None]]] = []

    async def strike(self, primary: str) -> list[str]:
        """One or two faults at once; return what they were."""
        faults: dict[str, Callable[[], Awaitable[None]]] = {
            f"kill PostgreSQL of {primary}": lambda: self._kill_postgres(primary),
            f"pause PostgreSQL of {primary}": lambda: self._pause_postgres(primary),
            f"kill the agent of {primary}": lambda: self._kill(f"agent-{primary}"),
            f"pause the agent of {primary}": lambda: self._pause(f"agent-{primary}"),
            "kill a standby": lambda: self._kill_postgres(self._standby(primary)),
            "kill the agent of a standby": lambda: self._kill(f"agent-{self._standby(primary)}"),
            "kill the prober": lambda: self._kill("prober"),
            "kill an instance of recovery": lambda: self._kill("recovery-1"),
            "pause an instance of recovery": lambda: self._pause("recovery-2"),
            "kill NATS": self._kill_nats,
        }
        chosen = self._random.sample(sorted(faults), self._random.choice((1, 1, 2)))
        for name in chosen:
            await faults[name]()
        return chosen

    async def clear_up(self) -> None:
        """Start again what was killed, wake what was paused."""
        while self._mend:
            await self._mend.pop()()

    def _standby(self, primary: str) -> str:
        return self._random.choice([node.name for node in self._system.nodes if node.name != primary])

    async def _kill_postgres(self, name: str) -> None:
        node = next(node for node in self._system.nodes if node.name == name)
        if node.running:
            await node.kill()

    async def _pause_postgres(self, name: str) -> None:
        node = next(node for node in self._system.nodes if node.name == name)
        if node.running:
            await node.pause()
            self._mend.append(node.resume)

    async def _kill(self, process: str) -> None:
        await self._system.processes.kill(process)

        async def start() -> None:
            self._system.processes.start_again(process)

        self._mend.append(start)

    async def _pause(self, process: str) -> None:
        self._system.processes.pause(process)

        async def resume() -> None:
            if self._system.processes.running(process):
                self._system.processes.resume(process)

        self._mend.append(resume)

    async def _kill_nats(self) -> None:
        await self._system.nats.kill()
        self._mend.append(self._system.nats.start)


def changes_of_writer(attempts: list[Attempt]) -> list[str]:
    """The servers that acknowledged writes, in order of the writes' beginnings, each once in a row."""
    order = [attempt.node for attempt in sorted(attempts, key=lambda attempt: attempt.started)]
    return [node for place, node in enumerate(order) if place == 0 or order[place - 1] != node]


async def serving(system: RescueSystem) -> str | None:
    route = await system.route()
    return route.primary.member if route and route.primary and route.state is RouteState.SERVING else None


async def all_is_well(system: RescueSystem, writer: DualWriter) -> str:
    """Return the primary once it takes writes and every other server follows it."""

    async def well() -> str | None:
        primary = await serving(system)
        node = next((node for node in system.nodes if node.name == primary), None)
        if node is None or not node.running:
            return None
        query = "SELECT pg_is_in_recovery(), (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming')"
        return node.name if (await node.psql(query)).strip() == f"f|{len(system.nodes) - 1}" else None

    primary = await eventually(well, within=CALM_S, poll=0.5)
    assert primary is not None
    before = len(writer.on(primary))
    await eventually(lambda: len(writer.on(primary)) >= before + SOME_WRITES, within=CALM_S)
    return primary


async def maintenance_is_over(system: RescueSystem) -> bool:
    switch = await system.maintenance()
    return switch is None or not switch.on


async def test_one_primary_at_a_time_and_no_acknowledged_write_lost_whatever_breaks(chaos_seed: int) -> None:
    async with (
        RescueSystem(standbys=2, recoveries=2) as system,
        DualWriter(system.nodes) as writer,
    ):
        random = Random(chaos_seed)  # noqa: S311 - a seed that can be repeated, no secret
        weather = Weather(system, random)
        primary = await all_is_well(system, writer)
        for number in range(ROUNDS):
            struck = await weather.strike(primary)
            until = writer.attempts + random.randint(*ATTEMPTS_IN_WEATHER)
            await eventually(lambda: writer.attempts >= until, within=CALM_S)  # noqa: B023 - awaited in the loop
            await weather.clear_up()
            primary = await all_is_well(system, writer)
            _log.info("round %d: %s; %s serves", number + 1, " and ".join(struck), primary)
            node = next(node for node in system.nodes if node.name == primary)
            assert await writer.lost(node) == set(), struck

        promoted = [event.member for event in await system.events(PrimaryPromoted)]
        assert changes_of_writer(writer.acknowledged) == [system.nodes[0].name, *promoted]
        await eventually(lambda: maintenance_is_over(system), within=CALM_S, poll=0.5)

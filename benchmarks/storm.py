"""A thousand failures at once, on the real recovery service.

    python benchmarks/storm.py [--failures 1000]

All of them are published as fast as NATS takes them. The brake must hold: never more unfinished runs than it lets begin
before it falls (`brake_targets`), counted from the events of the runs themselves. Nothing may be lost: each failure has
a run, waits with a reason, or was told to people, who are called once and not a thousand times. Then all are cleared,
and the service has to come to rest. Prints one JSON object a line, memory and processor among them.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import uvloop
from _figures import figure
from _recovery import Scene, names, scene
from nats.js.errors import NotFoundError
from yaoki.commands.recovery import ListRuns, RunList
from yaoki.events.base import Event
from yaoki.events.recovery import EscalatedToHuman
from yaoki.events.runs import RunFinished, RunStarted
from yaoki.testing import eventually

if TYPE_CHECKING:
    from collections.abc import Coroutine

E = TypeVar("E", bound=Event)

BRAKE_TARGETS = 10
MEMORY_LIMIT_MIB = 400.0
SETTLE_S = 300.0
IDLE_S = 10.0
BATCH = 50
_MIB = 1024.0 * 1024.0


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="A thousand failures at once.")
    parser.add_argument("--failures", type=int, default=1000)
    uvloop.run(_measure(parser.parse_args().failures))


async def _measure(failures: int) -> None:
    async with scene(failures, guards={"brake_targets": BRAKE_TARGETS, "brake_for": "1s"}) as found:
        incidents = {name: f"incident-{name}" for name in names(failures)}
        before, began = _processor(found), time.perf_counter()
        await _in_batches([found.fail(target, incident) for target, incident in incidents.items()])
        figure("storm", "published_s", time.perf_counter() - began)
        await eventually(lambda: _all_known(found, failures), within=SETTLE_S, poll=0.5)
        figure("storm", "all_dealt_with_s", time.perf_counter() - began)
        figure("storm", "processor_s", _processor(found) - before)
        await _figures_of_runs(found, incidents)
        await _figures_at_rest(found, "braked")
        began = time.perf_counter()
        await _in_batches([found.clear(target, incident) for target, incident in incidents.items()])
        await eventually(lambda: _nothing_left(found), within=SETTLE_S, poll=0.5)
        figure("storm", "cleared_s", time.perf_counter() - began)
        figure("storm", "memory_mib", found.process.memory_info().rss / _MIB, at_most=MEMORY_LIMIT_MIB)


async def _in_batches(work: list[Coroutine[Any, Any, None]]) -> None:
    for first in range(0, len(work), BATCH):
        await asyncio.gather(*work[first : first + BATCH])


async def _all_known(found: Scene, failures: int) -> bool:
    """Every failure has been taken up: it waits, or it had a run."""
    listed = await _list(found)
    return len(listed.waiting) + len(await _events(found, RunStarted)) >= failures


async def _nothing_left(found: Scene) -> bool:
    listed = await _list(found)
    return not listed.waiting and not listed.runs


async def _list(found: Scene) -> RunList:
    reply: RunList = await found.messaging.request(ListRuns(), timeout_s=60.0)
    return reply


async def _figures_of_runs(found: Scene, incidents: dict[str, str]) -> None:
    listed = await _list(found)
    started, finished = await _events(found, RunStarted), await _events(found, RunFinished)
    told = await _events(found, EscalatedToHuman)
    deferred = {one.incident_id for one in listed.waiting if one.reason or one.behind}
    ran = {run.incident_id for _, run in started}
    lost = set(incidents.values()) - deferred - ran - {event.failure.incident_id for _, event in told}
    figure("storm", "runs_at_once", _most_at_once(started, finished), at_most=BRAKE_TARGETS)
    figure("storm", "runs", len(started), at_most=BRAKE_TARGETS)
    figure("storm", "lost", len(lost), at_most=0)
    figure("storm", "calls_to_people", len(told), at_most=1)


def _most_at_once(started: list[tuple[int, RunStarted]], finished: list[tuple[int, RunFinished]]) -> int:
    """By the order of the event stream."""
    changes = sorted([(sequence, 1) for sequence, _ in started] + [(sequence, -1) for sequence, _ in finished])
    most = running = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


async def _figures_at_rest(found: Scene, state: str) -> None:
    """What it costs to keep all of them waiting."""
    before, began = _processor(found), time.perf_counter()
    await asyncio.sleep(IDLE_S)
    share = 100 * (_processor(found) - before) / (time.perf_counter() - began)
    figure("storm", f"processor_while_{state}_percent", share)
    figure("storm", f"memory_while_{state}_mib", found.process.memory_info().rss / _MIB, at_most=MEMORY_LIMIT_MIB)


def _processor(found: Scene) -> float:
    times = found.process.cpu_times()
    return float(times.user + times.system)


async def _events(found: Scene, kind: type[E]) -> list[tuple[int, E]]:
    """All stored events of one type with their places in the stream."""
    subject = found.messaging.subjects.events(event=kind.event_name())
    events: list[tuple[int, E]] = []
    sequence = 1
    while True:
        try:
            message = await found.messaging.jetstream.get_msg("EVENTS", sequence, subject=subject, next=True)
        except NotFoundError:
            return events
        events.append((message.seq or 0, msgspec.json.decode(message.data or b"", type=kind)))
        sequence = (message.seq or 0) + 1


if __name__ == "__main__":
    main()

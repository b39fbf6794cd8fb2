"""Three writers for every place of one journal, on a cluster of three whose stream leader is killed meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest
from yaoki.errors import ConflictError, TransientError
from yaoki.events.runs import RunPaused
from yaoki.messaging import Messaging, NatsSettings
from yaoki.messaging.jsapi import JetStreamApi
from yaoki.provision import provision
from yaoki.runs import NatsJournal

from .plans import one, start, step

if TYPE_CHECKING:
    from yaoki_devstack.nats import NatsCluster, NatsServer

pytestmark = pytest.mark.real

PLACES = 60
KILL_AT = (15, 35)


class Writer:
    """One of several that want the same place."""

    def __init__(self, name: str, connected: Messaging, run_id: str) -> None:
        self._name = name
        self._run_id = run_id
        self.journal = NatsJournal(connected.client, connected.subjects, source=f"/test/{name}")
        self.won: dict[int, str] = {}
        self.lost = 0

    async def write(self, after: int) -> int | None:
        """Its place after sequence `after`; None when another has it. The same bytes until that is settled."""
        event_id = f"{self._name}-{uuid4().hex}"
        event = RunPaused(run_kind="recovery", run_id=self._run_id, reason=event_id)
        while True:
            try:
                recorded = await self.journal.append(event, after=after, event_id=event_id)
            except ConflictError:
                self.lost += 1
                return None
            except TransientError:
                continue
            self.won[recorded.sequence] = event_id
            return recorded.sequence


@pytest.mark.timeout(400)
async def test_exactly_one_writer_wins_each_place_while_leaders_are_killed(nats_cluster: NatsCluster) -> None:
    settings = NatsSettings(servers=tuple(nats_cluster.urls), replicas=3, require_sync=False)
    await provision(settings)
    run_id = f"run-{uuid4().hex}"
    connections = [
        await Messaging.connect(settings, service="recovery", instance=f"recovery-{number}") for number in range(3)
    ]
    writers = [Writer(f"writer-{number}", connected, run_id) for number, connected in enumerate(connections)]
    begun = msgspec.structs.replace(start(one(step("a"))).entry(), run_id=run_id)
    last = (await writers[0].journal.append(begun, after=0, event_id=f"{run_id}-start")).sequence

    killing: list[asyncio.Task[None]] = []
    for place in range(PLACES):
        if place in KILL_AT:
            killing.append(asyncio.create_task(kill_leader(nats_cluster, connections[0])))
        first = place % len(writers)  # each is the first to ask in turn: on a slow machine the first often wins
        answers = await asyncio.gather(*(writer.write(last) for writer in writers[first:] + writers[:first]))
        winners = [answer for answer in answers if answer is not None]
        assert len(winners) == 1, f"place {place} went to {len(winners)} writers"
        last = winners[0]

    await asyncio.gather(*killing)
    entries = await writers[0].journal.load("recovery", run_id)
    stored = {entry.sequence: entry.id for entry in entries[1:]}
    claimed = {place: event_id for writer in writers for place, event_id in writer.won.items()}
    assert claimed == stored, "what was acknowledged is not what stands in the journal"
    assert sum(writer.lost for writer in writers) == 2 * PLACES
    assert all(writer.won for writer in writers), "one of them was never in time: nobody raced"
    for connected in connections:
        await connected.stop()


async def kill_leader(cluster: NatsCluster, connected: Messaging) -> None:
    """Kill the stream's leader and start it again."""
    leader = await stream_leader(cluster, connected)
    await leader.kill()
    await leader.start()


async def stream_leader(cluster: NatsCluster, connected: Messaging) -> NatsServer:
    """Who leads EVENTS now."""
    info = await JetStreamApi(connected.client, patience_s=30.0).call("STREAM.INFO.EVENTS")
    assert info is not None
    return next(node for node in cluster.servers if node.name == info["cluster"]["leader"])

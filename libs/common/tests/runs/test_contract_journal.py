"""The contract of `Journal`, kept by the one in memory and by the one on NATS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest
from yaoki.clock import SystemClock
from yaoki.errors import ConflictError
from yaoki.events.runs import LeaseTaken, RunEvent, RunPaused
from yaoki.runs import InMemoryJournal, JournalDamagedError, NatsJournal
from yaoki.runs.errors import JournalFromFutureError
from yaoki.runs.fold import fold
from yaoki.runs.reading import read_run

from .nats_fixtures import messaging, server
from .plans import one, start, step

if TYPE_CHECKING:
    from yaoki.messaging import Messaging
    from yaoki.runs.ports import Journal

__all__ = ["messaging", "server"]

Entry = Callable[[int], RunEvent]


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.real)])
def journal(request: pytest.FixtureRequest) -> Journal:
    """One of the two."""
    if request.param == "memory":
        return InMemoryJournal(SystemClock())
    connected: Messaging = request.getfixturevalue("messaging")
    return NatsJournal(connected.client, connected.subjects, source="/recovery/recovery-1")


@pytest.fixture
def run_id() -> str:
    return f"run-{uuid4().hex}"


@pytest.fixture
def entry(run_id: str) -> Entry:
    """The first entry of the run, and any number of others."""

    def make(number: int) -> RunEvent:
        if number == 0:
            return msgspec.structs.replace(start(one(step("a"))).entry(), run_id=run_id)
        return RunPaused(run_kind="recovery", run_id=run_id, reason=f"entry {number}")

    return make


async def test_a_run_of_which_nothing_is_known_is_empty(journal: Journal, run_id: str) -> None:
    assert await journal.load("recovery", run_id) == []


async def test_entries_come_back_in_order(journal: Journal, run_id: str, entry: Entry) -> None:
    after = 0
    for number in range(4):
        after = (await journal.append(entry(number), after=after, event_id=f"{run_id}-{number}")).sequence

    loaded = await journal.load("recovery", run_id)

    assert [recorded.event for recorded in loaded] == [entry(number) for number in range(4)]
    assert [recorded.id for recorded in loaded] == [f"{run_id}-{number}" for number in range(4)]
    assert await journal.load("recovery", run_id, after=loaded[1].sequence) == loaded[2:]


async def test_only_the_newest_sequence_may_be_followed(journal: Journal, run_id: str, entry: Entry) -> None:
    first = await journal.append(entry(0), after=0, event_id=f"{run_id}-0")
    await journal.append(entry(1), after=first.sequence, event_id=f"{run_id}-1")

    for after in (0, first.sequence, first.sequence + 1000):
        with pytest.raises(ConflictError):
            await journal.append(entry(2), after=after, event_id=f"{run_id}-late-{after}")
    assert len(await journal.load("recovery", run_id)) == 2


async def test_a_repeat_returns_what_is_stored(journal: Journal, run_id: str, entry: Entry) -> None:
    first = await journal.append(entry(0), after=0, event_id=f"{run_id}-0")
    second = await journal.append(entry(1), after=first.sequence, event_id=f"{run_id}-1")
    await journal.append(entry(2), after=second.sequence, event_id=f"{run_id}-2")

    again = await journal.append(entry(1), after=first.sequence, event_id=f"{run_id}-1")

    assert (again.sequence, again.event) == (second.sequence, second.event)
    assert len(await journal.load("recovery", run_id)) == 3


async def test_of_many_writers_one_wins_each_place(journal: Journal, run_id: str, entry: Entry) -> None:
    after = (await journal.append(entry(0), after=0, event_id=f"{run_id}-0")).sequence
    for place in range(5):
        writers = [
            journal.append(entry(place + 1), after=after, event_id=f"{run_id}-{place}-{writer}") for writer in range(5)
        ]
        answers = await asyncio.gather(*writers, return_exceptions=True)
        won = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert len(won) == 1
        assert all(isinstance(answer, ConflictError) for answer in answers if isinstance(answer, BaseException))
        after = won[0].sequence


async def test_runs_do_not_disturb_each_other(journal: Journal, run_id: str, entry: Entry) -> None:
    first = await journal.append(entry(0), after=0, event_id=f"{run_id}-0")
    other = msgspec.structs.replace(entry(0), run_id=f"{run_id}-other")
    await journal.append(other, after=0, event_id=f"{run_id}-other-0")

    await journal.append(entry(1), after=first.sequence, event_id=f"{run_id}-1")

    assert len(await journal.load("recovery", run_id)) == 2
    assert len(await journal.load("recovery", f"{run_id}-other")) == 1


async def test_the_incarnation_stays(journal: Journal) -> None:
    assert await journal.incarnation() == await journal.incarnation() > 0


@pytest.mark.real
async def test_an_entry_written_past_the_executor_is_damage(messaging: Messaging, run_id: str, entry: Entry) -> None:
    """Without the header the compare-and-set of everybody else means nothing."""
    journal = NatsJournal(messaging.client, messaging.subjects, source="/test")
    first = await journal.append(entry(0), after=0, event_id=f"{run_id}-0")
    body = msgspec.json.encode(LeaseTaken(run_kind="recovery", run_id=run_id, instance="intruder", incarnation=1))
    ack = await messaging.jetstream.publish(messaging.subjects.event("recovery", run_id, "lease-taken"), body)

    with pytest.raises(JournalDamagedError, match="past the executor") as damage:
        await journal.load("recovery", run_id)

    assert damage.value.last == ack.seq
    assert [sound.sequence for sound in damage.value.sound] == [first.sequence]


@pytest.mark.real
async def test_a_lost_entry_is_damage_and_not_a_shorter_run(messaging: Messaging, run_id: str, entry: Entry) -> None:
    journal = NatsJournal(messaging.client, messaging.subjects, source="/test")
    entries = [await journal.append(entry(0), after=0, event_id=f"{run_id}-0")]
    for number in (1, 2):
        entries.append(await journal.append(entry(number), after=entries[-1].sequence, event_id=f"{run_id}-{number}"))
    loaded = await journal.load("recovery", run_id)
    assert len(loaded) == 3

    # The stream refuses deletion; a reader that is told of a gap sees the same as one that meets a lost block.
    with pytest.raises(JournalDamagedError, match="entries were lost"):
        await journal.load("recovery", run_id, after=loaded[0].sequence - 1)
    with pytest.raises(JournalDamagedError, match="first entry"):
        fold(loaded[1:])


@pytest.mark.real
async def test_what_cannot_be_read_is_damage_and_what_is_newer_is_left_alone(
    messaging: Messaging, run_id: str, entry: Entry
) -> None:
    journal = NatsJournal(messaging.client, messaging.subjects, source="/test")
    last = (await journal.append(entry(0), after=0, event_id=f"{run_id}-0")).sequence
    subject = messaging.subjects.event("recovery", run_id, "step-started")
    headers = {
        "Nats-Expected-Last-Subject-Sequence": str(last),
        "Nats-Expected-Last-Subject-Sequence-Subject": messaging.subjects.run("recovery", run_id),
    }
    ack = await messaging.jetstream.publish(subject, b'{"type":"StepStarted","run_id":\xff', headers=headers)
    state = await read_run(journal, "recovery", run_id)
    assert state is not None
    assert (state.ending, state.last) == ("error", ack.seq)

    newer = f"{run_id}-newer"
    first = msgspec.structs.replace(entry(0), run_id=newer)
    last = (await journal.append(first, after=0, event_id=f"{newer}-0")).sequence
    headers = {
        "Nats-Expected-Last-Subject-Sequence": str(last),
        "Nats-Expected-Last-Subject-Sequence-Subject": messaging.subjects.run("recovery", newer),
    }
    await messaging.jetstream.publish(
        messaging.subjects.event("recovery", newer, "step-dreamt"), b'{"type":"StepDreamt"}', headers=headers
    )
    with pytest.raises(JournalFromFutureError, match="StepDreamt"):
        await journal.load("recovery", newer)

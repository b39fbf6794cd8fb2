"""Journals of earlier builds fold to what they amounted to then, and are decided as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from yaoki.events.runs import RunFinished, RunPaused, RunStarted, StepStarted
from yaoki.runs.decide import decide
from yaoki.runs.decisions import Decision, Finish, Pause, StartOrder
from yaoki.runs.errors import JournalDamagedError
from yaoki.runs.fold import apply, begin, fold

from .golden_journals import DIRECTORY, STORIES, GoldenJournal, read, summary

if TYPE_CHECKING:
    from pathlib import Path

    from yaoki.runs.ports import Recorded
    from yaoki.runs.state import RunState

FILES = sorted(DIRECTORY.glob("*.json"))

golden = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_every_kind_of_story_was_recorded() -> None:
    """A new one is added by running the recorder; none may disappear."""
    assert {path.stem for path in FILES} >= set(STORIES)


@golden
def test_an_old_journal_folds_to_what_it_amounted_to(path: Path) -> None:
    """Whatever was added to events and to the fold since."""
    journal = read(path)
    state = fold(journal.recorded())

    assert state is not None
    assert summary(state) == {name: getattr(journal, name) for name in summary(state)}


@golden
def test_an_old_journal_is_decided_as_it_was(path: Path) -> None:
    """At each index the decision is the entry that was then written: a run that an old build began goes on alike."""
    entries = read(path).recorded()
    state = begin(entries[0])
    judged = 0
    for entry in entries[1:]:
        if isinstance(entry.event, StepStarted | RunPaused | RunFinished):
            assert any(_says(decision, entry) for decision in decide(state, entry.at)), _about(state, entry)
            judged += 1
        apply(state, entry)
    assert judged


def _says(decision: Decision, entry: Recorded) -> bool:
    event = entry.event
    match decision:
        case StartOrder() if isinstance(event, StepStarted):
            return (decision.branch, decision.step, decision.phase, decision.attempt) == (
                event.branch,
                event.step,
                event.phase,
                event.attempt,
            )
        case Pause() if isinstance(event, RunPaused):
            return decision.step == event.step
        case Finish() if isinstance(event, RunFinished):
            return decision.ending == event.ending
        case _:
            return False


def _about(state: RunState, entry: Recorded) -> str:
    return f"sequence {entry.sequence}: {entry.event} was written, now decided: {decide(state, entry.at)}"


@golden
def test_a_journal_that_lacks_what_others_build_on_is_refused(path: Path) -> None:
    """By the fold itself, beside the adapter, which sees every gap."""
    entries = read(path).recorded()
    for index, entry in enumerate(entries):
        intent = isinstance(entry.event, StepStarted) and _has_outcome(entries, entry.event.command_id)
        if intent or isinstance(entry.event, RunStarted):
            with pytest.raises(JournalDamagedError):
                fold(entries[:index] + entries[index + 1 :])


def _has_outcome(entries: list[Recorded], command_id: str) -> bool:
    return any(
        getattr(entry.event, "command_id", "") == command_id and not isinstance(entry.event, StepStarted)
        for entry in entries
    )


@golden
def test_fields_that_a_newer_build_added_are_read_past(path: Path) -> None:
    """Old and new instances work on the same runs while one replaces the other."""
    journal = msgspec.json.decode(path.read_bytes())
    for entry in journal["entries"]:
        entry["event"]["added_later"] = {"anything": 1}

    assert msgspec.convert(journal, type=GoldenJournal) == read(path)

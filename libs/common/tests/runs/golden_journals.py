"""Whole journals as some earlier build wrote them, which every later build has to fold and decide alike.

`python -m libs.common.tests.runs.golden_journals` adds what is missing and never touches a file that exists.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from yaoki.events.runs import (
    BranchDeferred,
    Ending,
    Intervention,
    LateReplyRecorded,
    LeaseTaken,
    OperatorIntervened,
    RunFinished,
    RunPaused,
    RunStarted,
    StepFinished,
    StepStarted,
)
from yaoki.plans import Branch, Effect, OutcomeStatus
from yaoki.runs import Hold
from yaoki.runs.fold import fold
from yaoki.runs.ports import Recorded
from yaoki.testing.simulation import Crash, CrashPoint, World, play, run_virtually

from .desk import Desk
from .plans import SHAPES, Shape, chain, one, start, step

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.runs.state import RunState

DIRECTORY = Path(__file__).parent.parent / "golden" / "journals"

AnyRunEvent = (
    RunStarted
    | LeaseTaken
    | StepStarted
    | StepFinished
    | LateReplyRecorded
    | OperatorIntervened
    | RunPaused
    | BranchDeferred
    | RunFinished
)


class GoldenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry with where it stood."""

    sequence: int
    id: str
    at: datetime
    event: AnyRunEvent


class GoldenJournal(msgspec.Struct, frozen=True, kw_only=True):
    """A journal, and what it amounted to for the build that wrote it.

    Attributes:
        about: What is special about it.
        ending: None for a run that had not ended.
        paused: Whether it waited for a person.
        epoch: Of its last leader.
        outcomes: What became of each order; None for one without outcome.
        results: What later steps could refer to.
        entries: In order.
    """

    about: str
    ending: Ending | None
    paused: bool
    epoch: tuple[int, int]
    outcomes: dict[str, OutcomeStatus | None]
    results: dict[str, dict[str, object] | None]
    entries: list[GoldenEntry]

    def recorded(self) -> list[Recorded]:
        """The entries as a journal gives them."""
        return [Recorded(event=e.event, id=e.id, sequence=e.sequence, at=e.at) for e in self.entries]


def summary(state: RunState) -> dict[str, object]:
    """What is compared with later builds."""
    return {
        "ending": state.ending,
        "paused": bool(state.paused),
        "epoch": (state.epoch.incarnation, state.epoch.counter),
        "outcomes": {command: order.status for command, order in state.orders.items()},
        "results": {name: state.result(name) for branch in state.branches for name in branch.index},
    }


def read(path: Path) -> GoldenJournal:
    """One file."""
    return msgspec.json.decode(path.read_bytes(), type=GoldenJournal)


def _golden(about: str, entries: list[Recorded]) -> GoldenJournal:
    state = fold(entries)
    assert state is not None
    golden = [GoldenEntry(sequence=e.sequence, id=e.id, at=e.at, event=e.event) for e in entries]  # type: ignore[arg-type] # a RunEvent is one of them
    return GoldenJournal(about=about, entries=golden, **summary(state))  # type: ignore[arg-type] # the same fields


def _simulated(shape: Shape, seed: int) -> list[Recorded]:
    crashes = (Crash(CrashPoint.APPEND_ACKED, 3 + seed),)
    return run_virtually(_scenario(shape, seed, crashes))


async def _scenario(shape: Shape, seed: int, crashes: tuple[Crash, ...]) -> list[Recorded]:
    return (await play(World(seed=seed), start(shape.plan), crashes=crashes)).entries


def _steered() -> list[Recorded]:
    desk = Desk(one(step("a", effect=Effect.ONCE), step("b"), step("c")), a__do="unknown")
    desk.play()
    desk.steer(Intervention.MARK_DONE, "a", comment="it is there", result={"lsn": "0/3"})
    desk.steer(Intervention.SKIP, "b", comment="not needed today")
    desk.play()
    return desk.entries


def _poisoned() -> list[Recorded]:
    desk = Desk(one(step("a"), step("b")))
    desk.begin_orders()
    for number in range(3):
        desk.lead(f"instance-{number + 2}")
    desk.play()
    return desk.entries


def _late() -> list[Recorded]:
    desk = Desk(one(step("a"), step("b")), b__do="unknown")
    desk.play(until="b.undo.1")
    desk.late("b.do.1", OutcomeStatus.SUCCEEDED)
    desk.play()
    return desk.entries


def _unfinished() -> list[Recorded]:
    desk = Desk(one(step("a"), step("b", group="g"), step("c", group="g")))
    desk.play(until="a.do.1")
    desk.begin_orders()
    return desk.entries


def _deferred() -> list[Recorded]:
    first = Branch(name="first", steps=(step("a"),), disruptive=True, if_deferred=True)
    second = Branch(name="second", steps=(step("b"),), disruptive=True)
    desk = Desk(chain(first, second, Branch(name="third", steps=(step("c"),))), a__do="skipped", c__do="failed")
    desk.hold = Hold(name="window-1", reason="people work there", until=desk.now + timedelta(seconds=2))
    desk.play()
    return desk.entries


STORIES: dict[str, tuple[str, Callable[[], list[Recorded]]]] = {
    **{
        shape.name.replace(",", "").replace(" ", "-"): (
            f"{shape.name}, with a leader that died",
            lambda shape=shape, seed=seed: _simulated(shape, seed),  # type: ignore[misc]
        )
        for seed, shape in enumerate(SHAPES)
    },
    "steered": ("a person marked one step done and skipped another", _steered),
    "poisoned": ("a step took its runner down three times", _poisoned),
    "late-reply": ("a step given up had succeeded, and was undone again", _late),
    "deferred": ("two branches waited for the end of a hold, behind the third", _deferred),
    "unfinished": ("two orders of a group are under way", _unfinished),
}


def write_missing(directory: Path = DIRECTORY) -> list[Path]:
    """Add what is missing; what was written."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (about, tell) in STORIES.items():
        path = directory / f"{name}.json"
        if not path.exists():
            journal = msgspec.json.encode(_golden(about, tell()))
            path.write_bytes(msgspec.json.format(journal, indent=1) + b"\n")
            written.append(path)
    return written


if __name__ == "__main__":
    for path in write_missing():
        sys.stdout.write(f"{path}\n")

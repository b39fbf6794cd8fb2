"""What must not go wrong around a run: ends untold, orders doubled, leases lost, one bad run hiding all others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio
from yaoki.errors import ErrorCode, RejectedError
from yaoki.events.runs import Ending, Intervention, LeaseTaken, OperatorIntervened, RunStarted
from yaoki.plans import Effect
from yaoki.runs import (
    ActionResult,
    JournalDamagedError,
    ResourceBusyError,
    RunLeases,
    RunRegistry,
    Steering,
)
from yaoki.runs.errors import JournalFromFutureError
from yaoki.testing import eventually

from .executors import InMemory
from .plans import RUN, one, start, step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from yaoki.plans import Order
    from yaoki.runs import RunExecutor, RunState
    from yaoki.runs.ports import Recorded


class Doing:
    """An action that counts and can be held."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def act(self, order: Order) -> ActionResult:
        self.effects.append(order.command_id)
        await self.may_end.wait()
        return ActionResult()


@pytest_asyncio.fixture
async def doing() -> Doing:
    return Doing()


@pytest_asyncio.fixture
async def shared() -> InMemory:
    return InMemory()


@pytest_asyncio.fixture
async def executor_of(shared: InMemory, doing: Doing) -> AsyncIterator[Callable[[str], RunExecutor]]:
    """Makes processes, which are stopped at the end."""
    made: list[RunExecutor] = []

    def make(instance: str = "recovery-1") -> RunExecutor:
        made.append(shared.executor({"act": doing.act}, instance))
        return made[-1]

    yield make
    doing.may_end.set()
    for executor in made:
        await executor.stop()


PLAN = one(step("a", worker="local"), step("b", worker="local"))


def entries(shared: InMemory, run_id: str = RUN) -> list[Recorded]:
    found: list[Recorded] = shared.journal.entries("recovery", run_id)
    return found


async def test_a_repeated_start_changes_nothing(
    executor_of: Callable[..., RunExecutor], shared: InMemory, doing: Doing
) -> None:
    one_executor, other = executor_of(), executor_of("recovery-2")

    ids = await asyncio.gather(*(executor.start(start(PLAN)) for executor in (one_executor, other, one_executor)))
    await one_executor.finished(RUN)
    ids.append(await one_executor.start(start(PLAN)))

    assert set(ids) == {RUN}
    assert len(doing.effects) == 2
    assert sum(isinstance(entry.event, RunStarted) for entry in entries(shared)) == 1


async def test_a_resource_is_held_until_the_end(executor_of: Callable[..., RunExecutor], doing: Doing) -> None:
    executor, told = executor_of(), Told()
    second = msgspec.structs.replace(start(PLAN), run_id="run-2")
    executor.on_finished(told)
    doing.may_end.clear()
    await executor.start(start(PLAN))

    with pytest.raises(ResourceBusyError) as busy:
        await executor_of("recovery-2").start(second)
    assert busy.value.run_id == RUN
    doing.may_end.set()
    await executor.finished(RUN)
    await executor.start(second)
    await executor.finished("run-2")

    assert told.runs == [(RUN, Ending.COMPLETED), ("run-2", Ending.COMPLETED)]


class Told:
    """Remembers which ends were told."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, Ending | None]] = []

    async def __call__(self, state: RunState) -> None:
        self.runs.append((state.run_id, state.ending))


async def test_an_end_is_told_although_its_writer_died_before(
    executor_of: Callable[..., RunExecutor], shared: InMemory
) -> None:
    """The next run on the resource begins only after that."""
    first, told = executor_of(), Told()
    claimed = await RunRegistry(shared.runs).create(start(PLAN).entry())
    await first.start(start(PLAN))
    await first.finished(RUN)
    await RunRegistry(shared.runs).create(claimed.started)  # as if it had not come to the release
    other = executor_of("recovery-2")
    other.on_finished(told)

    await other.start(msgspec.structs.replace(start(PLAN), run_id="run-2"))

    assert told.runs[0] == (RUN, Ending.COMPLETED)


async def test_a_redelivered_order_of_a_person_counts_once(
    executor_of: Callable[..., RunExecutor], shared: InMemory, doing: Doing
) -> None:
    doing.may_end.clear()
    executor, other = executor_of(), executor_of("recovery-2")
    await executor.start(start(PLAN))
    retry = Steering(intervention=Intervention.RETRY, by="alice", step="b", order_id="order-1")

    await asyncio.gather(*(one_of.steer(RUN, retry) for one_of in (executor, other, executor)))
    await other.steer(RUN, retry)
    pause = Steering(intervention=Intervention.PAUSE, by="alice", order_id="order-2")
    await executor.steer(RUN, pause)
    await executor.steer(RUN, pause)  # a second pause would be refused, a repeat of the first is not

    steered = [entry.event for entry in entries(shared) if isinstance(entry.event, OperatorIntervened)]
    assert [event.intervention for event in steered] == [Intervention.RETRY, Intervention.PAUSE]


async def test_orders_that_make_no_sense_are_refused(executor_of: Callable[..., RunExecutor]) -> None:
    executor = executor_of()
    await executor.start(start(PLAN))
    await executor.finished(RUN)

    with pytest.raises(RejectedError, match="is over") as over:
        await executor.steer(RUN, Steering(intervention=Intervention.ABORT, by="alice"))
    assert over.value.code is ErrorCode.NOT_ALLOWED
    with pytest.raises(RejectedError, match="no run") as unknown:
        await executor.steer("run-9", Steering(intervention=Intervention.ABORT, by="alice"))
    assert unknown.value.code is ErrorCode.NOT_FOUND


async def test_a_paused_run_begins_nothing_and_goes_on_when_resumed(
    executor_of: Callable[..., RunExecutor], doing: Doing
) -> None:
    executor = executor_of()
    doing.may_end.clear()
    await executor.start(start(PLAN))
    await eventually(lambda: doing.effects)
    await executor.steer(RUN, Steering(intervention=Intervention.PAUSE, by="alice"))
    doing.may_end.set()
    await eventually(lambda: _statuses(executor, "a:succeeded"))
    view = await executor.view(RUN)

    assert view is not None
    assert view.status == "paused"
    assert len(doing.effects) == 1
    await executor.steer(RUN, Steering(intervention=Intervention.RESUME, by="alice"))
    assert (await executor.finished(RUN)).ending is Ending.COMPLETED


async def _statuses(executor: RunExecutor, wanted: str) -> bool:
    view = await executor.view(RUN)
    return view is not None and wanted in [f"{line.step}:{line.status}" for line in view.steps]


class Damaged:
    """A journal of which one run cannot be read."""

    def __init__(self, inner: object, run_id: str, error: Callable[[list[Recorded]], Exception]) -> None:
        self._inner = inner
        self._run_id = run_id
        self._error = error

    async def load(self, run_kind: str, run_id: str, *, after: int = 0) -> list[Recorded]:
        found: list[Recorded] = await self._inner.load(run_kind, run_id, after=after)  # type: ignore[attr-defined] # any journal
        if run_id == self._run_id and found:
            raise self._error(found)
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


async def test_a_damaged_run_ends_as_error_and_frees_its_resource(
    executor_of: Callable[..., RunExecutor], shared: InMemory
) -> None:
    claim = await RunRegistry(shared.runs).create(start(PLAN).entry())
    await shared.journal.append(claim.started, after=0, event_id="started")
    whole = shared.journal
    shared.journal = Damaged(
        whole, RUN, lambda found: JournalDamagedError("torn", last=found[-1].sequence, sound=found[:1])
    )
    executor, told = executor_of(), Told()
    executor.on_finished(told)
    second = msgspec.structs.replace(start(PLAN), run_id="run-2")

    await executor.start(second)

    assert (await executor.finished("run-2")).ending is Ending.COMPLETED
    assert told.runs == [(RUN, Ending.ERROR), ("run-2", Ending.COMPLETED)]
    view = await executor.view(RUN)
    assert view is not None
    assert (view.status, view.reason) == ("error", "torn")
    assert [type(entry.event).__name__ for entry in whole.entries("recovery", RUN)] == ["RunStarted", "RunFinished"]


async def test_one_unreadable_run_or_claim_hides_no_other(
    executor_of: Callable[..., RunExecutor], shared: InMemory, doing: Doing
) -> None:
    doing.may_end.clear()
    await shared.runs.put("resource.recovery.other", b"not a run")
    claim = await RunRegistry(shared.runs).create(
        msgspec.structs.replace(start(PLAN), run_id="run-9", resource="third").entry()
    )
    await shared.journal.append(claim.started, after=0, event_id="started")
    shared.journal = Damaged(shared.journal, "run-9", lambda _: JournalFromFutureError("a StepDreamt"))
    executor = executor_of()
    supervised = asyncio.create_task(executor.supervise())
    await executor.start(start(PLAN))

    assert {view.run_id for view in await executor.unfinished()} == {RUN, "run-9"}
    doing.may_end.set()
    assert (await executor.finished(RUN)).ending is Ending.COMPLETED
    assert len(entries_of(shared, "run-9")) == 1, "the run of a newer version was written to"
    assert await eventually(lambda: RunLeases(shared.leases).vacant("recovery", "run-9"))
    supervised.cancel()


def entries_of(shared: InMemory, run_id: str) -> list[Recorded]:
    found: list[Recorded] = shared.journal.entries("recovery", run_id)
    return found


async def test_a_lapsed_lease_is_taken_again_by_the_leader(
    executor_of: Callable[..., RunExecutor], shared: InMemory, doing: Doing
) -> None:
    doing.may_end.clear()
    executor = executor_of()
    await executor.start(start(PLAN))
    await eventually(lambda: doing.effects)
    await shared.leases.delete(f"run.recovery.{RUN}")

    async def held_again() -> bool:
        return not await RunLeases(shared.leases).vacant("recovery", RUN)

    assert await eventually(held_again)
    doing.may_end.set()
    await executor.finished(RUN)
    assert sum(isinstance(entry.event, LeaseTaken) for entry in entries(shared)) == 1


async def test_stopping_hands_a_run_over_at_once(
    executor_of: Callable[..., RunExecutor], shared: InMemory, doing: Doing
) -> None:
    doing.may_end.clear()
    leaving, staying = executor_of(), executor_of("recovery-2")
    supervised = asyncio.create_task(staying.supervise())
    await leaving.start(start(one(step("a", worker="local", effect=Effect.IDEMPOTENT))))
    await eventually(lambda: doing.effects)

    await leaving.stop()
    doing.may_end.set()
    state = await staying.finished(RUN)

    taken = [entry.event for entry in entries(shared) if isinstance(entry.event, LeaseTaken)]
    assert [(event.instance, event.orderly) for event in taken] == [("recovery-1", False), ("recovery-2", True)]
    assert state.ending is Ending.COMPLETED
    supervised.cancel()

"""A worker performs an order at most once, whatever dies; over the bucket in memory and over the one on NATS."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import pytest_asyncio
from yaoki.epoch import Epoch
from yaoki.errors import ErrorCode, RejectedError, TransientError
from yaoki.plans import Effect, OutcomeStatus
from yaoki.runs import (
    Action,
    ActionFailedError,
    ActionResult,
    DurableWorker,
    OrderTable,
    PreconditionFailedError,
)
from yaoki.testing import InMemoryKeyValue, eventually, patient

from .nats_fixtures import messaging, server
from .orders import order

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from yaoki.messaging.ports import Entry, KeyValue
    from yaoki.plans import Order

__all__ = ["messaging", "server"]

HELD_ANSWER_S = 0.2
"""After which a worker says that it is still at it."""


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.real)])
def kv(request: pytest.FixtureRequest) -> KeyValue:
    """The bucket `commands`."""
    if request.param == "memory":
        return InMemoryKeyValue()
    bucket: KeyValue = request.getfixturevalue("messaging").kv("commands")
    return bucket


class Doing:
    """An action that counts, and that can be held in the middle."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.error: Exception | None = None

    async def act(self, given: Order) -> ActionResult:
        self.effects.append(given.command_id)
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return ActionResult(result={"done": len(self.effects)})


@pytest_asyncio.fixture
async def doing() -> Doing:
    return Doing()


@pytest_asyncio.fixture
async def worker_of(kv: KeyValue, doing: Doing) -> AsyncIterator[Callable[..., DurableWorker]]:
    """Makes workers on the same table: another one of the same instance is that process started again.

    A worker answers with an outcome however busy the machine is, unless it is made while the action is held.
    """
    made: list[DurableWorker] = []

    def make(instance: str = "agent-a-1", *, bucket: KeyValue = kv, **more: Any) -> DurableWorker:
        actions = {"act": Action(doing.act, **more)}
        answer_s = patient(5) if doing.may_end.is_set() else HELD_ANSWER_S
        made.append(DurableWorker(actions, OrderTable(bucket, "agent-a", instance), answer_s=answer_s))
        return made[-1]

    yield make
    for worker in made:
        await worker.stop()


async def die(worker: DurableWorker) -> None:
    """As if the process were gone: handlers end in the middle and write nothing."""
    await worker.stop()


async def test_a_repeat_is_answered_and_not_performed(worker_of: Any, doing: Doing) -> None:
    given, worker = order(), worker_of()

    first = await worker.perform(given)
    again = await worker.perform(given)
    elsewhere = await worker_of("agent-a-2").perform(given)

    assert first.status is OutcomeStatus.SUCCEEDED
    assert first == again == elsewhere
    assert await worker.ask(given) == first
    assert doing.effects == [given.command_id]


async def test_many_at_once_are_performed_once(worker_of: Any, doing: Doing) -> None:
    doing.may_end.clear()
    given, one, other = order(), worker_of(), worker_of("agent-a-2")

    answers = await asyncio.gather(*(worker.perform(given) for worker in (one, one, other, one, other)))
    doing.may_end.set()

    assert {answer.status for answer in answers} == {OutcomeStatus.RUNNING}
    assert doing.effects == [given.command_id]
    outcome = await eventually(lambda: _final(other, given))
    assert outcome.status is OutcomeStatus.SUCCEEDED


async def _final(worker: DurableWorker, given: Order) -> Any:
    answer = await worker.ask(given)
    return answer if answer is not None and answer.status.final else None


async def test_nothing_is_known_of_an_order_that_never_came(worker_of: Any) -> None:
    assert await worker_of().ask(order()) is None


@pytest.mark.parametrize(
    ("error", "effect", "status"),
    [
        (PreconditionFailedError("no need"), Effect.IDEMPOTENT, OutcomeStatus.SKIPPED),
        (RejectedError("not allowed"), Effect.ONCE, OutcomeStatus.REFUSED),
        (ActionFailedError("half of it"), Effect.ONCE, OutcomeStatus.FAILED),
        (TransientError("away"), Effect.IDEMPOTENT, OutcomeStatus.FAILED),
        (TransientError("away"), Effect.ONCE, OutcomeStatus.UNKNOWN),
        (ValueError("a secret"), Effect.OBSERVABLE, OutcomeStatus.UNKNOWN),
        (ValueError("a secret"), Effect.IDEMPOTENT, OutcomeStatus.FAILED),
    ],
)
async def test_how_a_handler_ends_decides_the_outcome(
    worker_of: Any, doing: Doing, error: Exception, effect: Effect, status: OutcomeStatus
) -> None:
    doing.error = error

    outcome = await worker_of().perform(order(effect=effect))

    assert outcome.status is status
    assert "a secret" not in outcome.error


async def test_a_lower_epoch_is_refused_and_says_the_higher(worker_of: Any, doing: Doing) -> None:
    worker, obeyed = worker_of(), order(epoch=9)
    await worker.perform(obeyed)

    late = order(epoch=8, resource=obeyed.resource)
    for refuse in (worker.perform, worker_of("agent-a-2").perform, worker.cancel):
        outcome = await refuse(late)
        assert (outcome.status, outcome.error_code) == (OutcomeStatus.REFUSED, ErrorCode.STALE_EPOCH)
        assert outcome.result == {"known": [1, 9]}
    assert doing.effects == [obeyed.command_id]


async def test_epochs_are_those_of_one_resource(worker_of: Any) -> None:
    worker = worker_of()
    await worker.perform(order(epoch=9))

    assert (await worker.perform(order(epoch=1))).status is OutcomeStatus.SUCCEEDED


async def test_an_expired_order_never_begins(worker_of: Any, doing: Doing) -> None:
    outcome = await worker_of().perform(order(expires_s=-0.5))

    assert (outcome.status, outcome.error_code) == (OutcomeStatus.REFUSED, ErrorCode.EXPIRED)
    assert doing.effects == []


async def test_a_handler_is_stopped_when_its_order_expires(worker_of: Any, doing: Doing) -> None:
    doing.may_end.clear()
    worker = worker_of()
    given = order(expires_s=0.1, effect=Effect.ONCE)
    await worker.perform(given)
    if not doing.effects:  # on a busy machine a short one is over before it begins
        given = order(expires_s=patient(5), effect=Effect.ONCE)
        await worker.perform(given)

    outcome = await eventually(lambda: _known(worker, given), within=20)
    assert (outcome.status, outcome.error_code) == (OutcomeStatus.UNKNOWN, ErrorCode.TIMEOUT)


async def _known(worker: DurableWorker, given: Order) -> Any:
    answer = await worker.ask(given)
    return answer if answer is not None and answer.status is not OutcomeStatus.RUNNING else None


async def test_a_cancelled_order_never_begins_anywhere(worker_of: Any, doing: Doing) -> None:
    given, worker = order(), worker_of()

    acknowledged = await worker.cancel(given)
    late = await worker_of("agent-a-2").perform(given)

    assert acknowledged.status is late.status is OutcomeStatus.CANCELLED
    assert doing.effects == []


async def test_what_runs_or_is_finished_cannot_be_cancelled(worker_of: Any, doing: Doing) -> None:
    doing.may_end.clear()
    given, worker = order(), worker_of()
    await worker.perform(given)

    assert (await worker.cancel(given)).status is OutcomeStatus.RUNNING
    doing.may_end.set()
    outcome = await eventually(lambda: _final(worker, given))
    assert await worker.cancel(given) == outcome
    assert outcome.status is OutcomeStatus.SUCCEEDED


async def test_an_order_whose_performer_died_is_begun_again_if_that_is_harmless(worker_of: Any, doing: Doing) -> None:
    given = order()
    doing.may_end.clear()
    dead = worker_of()
    await dead.perform(given)
    await die(dead)
    doing.may_end.set()

    outcome = await worker_of().perform(given)

    assert outcome.status is OutcomeStatus.SUCCEEDED
    assert doing.effects == [given.command_id] * 2


@pytest.mark.parametrize("effect", [Effect.ONCE, Effect.OBSERVABLE])
async def test_an_order_whose_performer_died_is_unknown_if_nobody_can_see(
    worker_of: Any, doing: Doing, effect: Effect
) -> None:
    given = order(effect=effect)
    doing.may_end.clear()
    dead = worker_of()
    await dead.perform(given)
    await die(dead)

    restarted = worker_of()
    for answer in (await restarted.ask(given), await restarted.perform(given), await restarted.cancel(given)):
        assert answer is not None
        assert answer.status is OutcomeStatus.UNKNOWN
    assert doing.effects == [given.command_id]


@pytest.mark.parametrize(
    ("seen", "status"), [(ActionResult(result={"seen": 1}), OutcomeStatus.SUCCEEDED), (None, OutcomeStatus.FAILED)]
)
async def test_what_can_be_observed_is_looked_at_and_not_repeated(
    worker_of: Any, doing: Doing, seen: ActionResult | None, status: OutcomeStatus
) -> None:
    given = order(effect=Effect.OBSERVABLE)
    doing.may_end.clear()
    dead = worker_of()
    await dead.perform(given)
    await die(dead)

    async def observe(_: Order) -> ActionResult | None:
        return seen

    restarted = worker_of(observe=observe)
    outcome = await restarted.ask(given)

    assert outcome is not None
    assert outcome.status is status
    assert await restarted.perform(given) == outcome
    assert doing.effects == [given.command_id]


async def test_what_was_begun_is_never_refused_as_not_done(worker_of: Any, doing: Doing, kv: KeyValue) -> None:
    """Not when it has expired since, nor when the new release does not know the action any more."""
    given = order(effect=Effect.ONCE)
    doing.may_end.clear()
    dead = worker_of()
    await dead.perform(given)
    await die(dead)
    expired = msgspec.structs.replace(given, expires_at=order(expires_s=-60).expires_at)
    newer = DurableWorker({}, OrderTable(kv, "agent-a", "agent-a-1"), answer_s=HELD_ANSWER_S)

    for outcome in (await worker_of().perform(expired), await newer.perform(given), await newer.ask(given)):
        assert outcome is not None
        assert outcome.status is OutcomeStatus.UNKNOWN


async def test_another_instance_waits_for_the_one_that_began(worker_of: Any, doing: Doing) -> None:
    given = order()
    doing.may_end.clear()
    dead = worker_of("agent-a-1")
    await dead.perform(given)
    await die(dead)
    other = worker_of("agent-a-2")

    assert (await other.perform(given)).status is OutcomeStatus.RUNNING
    long_gone = msgspec.structs.replace(given, expires_at=order(expires_s=-60).expires_at)
    outcome = await other.ask(long_gone)
    assert outcome is not None
    assert outcome.status is OutcomeStatus.UNKNOWN
    assert doing.effects == [given.command_id]


async def test_an_action_that_nobody_knows_is_refused(worker_of: Any) -> None:
    outcome = await worker_of().perform(order(action="dance"))

    assert (outcome.status, outcome.error_code) == (OutcomeStatus.REFUSED, ErrorCode.NOT_FOUND)
    assert "act" in outcome.error


class Flaky:
    """A bucket that NATS does not answer for while `away`."""

    def __init__(self, inner: KeyValue) -> None:
        self._inner = inner
        self.away = False

    async def get(self, key: str) -> Entry | None:
        self._check()
        return await self._inner.get(key)

    async def create(self, key: str, value: bytes, *, ttl_s: float | None = None) -> int:
        self._check()
        return await self._inner.create(key, value, ttl_s=ttl_s)

    async def update(self, key: str, value: bytes, *, revision: int, ttl_s: float | None = None) -> int:
        self._check()
        return await self._inner.update(key, value, revision=revision, ttl_s=ttl_s)

    def _check(self) -> None:
        if self.away:
            raise TransientError("NATS is away")


async def test_an_outcome_is_written_when_nats_is_back(worker_of: Any, doing: Doing, kv: KeyValue) -> None:
    flaky = Flaky(kv)
    doing.may_end.clear()
    given, worker = order(), worker_of(bucket=flaky)
    await worker.perform(given)
    flaky.away = True
    doing.may_end.set()

    with contextlib.suppress(TransientError):
        assert await _final(worker, given) is None, "answered as finished before that was written down"
    flaky.away = False

    outcome = await eventually(lambda: _final(worker_of("agent-a-2"), given))
    assert outcome.status is OutcomeStatus.SUCCEEDED
    assert doing.effects == [given.command_id]


async def test_an_order_does_not_begin_while_it_cannot_be_written_down(
    worker_of: Any, doing: Doing, kv: KeyValue
) -> None:
    flaky = Flaky(kv)
    flaky.away = True

    with pytest.raises(TransientError):
        await worker_of(bucket=flaky).perform(order())
    assert doing.effects == []


async def test_a_table_remembers_the_highest_epoch(kv: KeyValue) -> None:
    table, resource = OrderTable(kv, "agent-a", "agent-a-1"), order().resource

    obeyed = await asyncio.gather(*(table.obey(resource, Epoch(1, counter)) for counter in (3, 7, 5)))

    assert max(obeyed) == Epoch(1, 7) == await table.highest_epoch(resource)
    assert await table.obey(resource, Epoch(1, 6)) == Epoch(1, 7)
    assert await table.obey(resource, Epoch(2, 1)) == Epoch(2, 1)

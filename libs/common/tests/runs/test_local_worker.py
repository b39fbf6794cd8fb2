"""A worker in this process: what it remembers, and what it looks at because another process may have begun."""

from __future__ import annotations

import pytest
from yaoki.errors import ErrorCode
from yaoki.plans import Effect, Order, OutcomeStatus
from yaoki.runs import Action, ActionResult, LocalWorker

from .orders import order


async def act(_: Order) -> ActionResult:
    return ActionResult(result={"x": 1})


async def test_a_repeat_is_answered_from_memory() -> None:
    seen: list[str] = []

    async def count(given: Order) -> ActionResult:
        seen.append(given.command_id)
        return ActionResult()

    worker, given = LocalWorker({"act": count}), order()

    assert await worker.perform(given) == await worker.perform(given) == await worker.ask(given)
    assert len(seen) == 1


async def test_what_may_happen_only_once_needs_a_durable_table() -> None:
    outcome = await LocalWorker({"act": act}).perform(order(effect=Effect.ONCE))

    assert (outcome.status, outcome.error_code) == (OutcomeStatus.REFUSED, ErrorCode.NOT_ALLOWED)


@pytest.mark.parametrize(("happened", "status"), [(True, OutcomeStatus.SUCCEEDED), (False, None)])
async def test_another_process_may_have_done_what_can_be_observed(
    happened: bool,  # noqa: FBT001 - a parameter of the test
    status: OutcomeStatus | None,
) -> None:
    """It is looked at before it is ordered again; only what was seen not to have happened is."""

    async def observe(_: Order) -> ActionResult | None:
        return ActionResult(result={"x": 1}) if happened else None

    worker = LocalWorker({"act": Action(act, observe=observe)})
    known = await worker.ask(order(effect=Effect.OBSERVABLE))

    assert (known.status if known else None) is status


async def test_what_cannot_be_observed_after_all_is_unknown_and_not_repeated() -> None:
    known = await LocalWorker({"act": act}).ask(order(effect=Effect.OBSERVABLE))

    assert known is not None
    assert known.status is OutcomeStatus.UNKNOWN


async def test_a_cancelled_order_does_not_begin() -> None:
    worker, given = LocalWorker({"act": act}), order()

    assert (await worker.cancel(given)).status is OutcomeStatus.CANCELLED
    assert (await worker.perform(given)).status is OutcomeStatus.CANCELLED

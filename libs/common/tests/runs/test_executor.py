"""Executors among themselves, in virtual time: who drives what, who takes over, what people and damage do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from yaoki.epoch import Epoch
from yaoki.errors import RejectedError, TransientError
from yaoki.events.runs import Ending, Intervention, LateReplyRecorded, LeaseTaken, RunFinished, RunPaused, StepFinished
from yaoki.plans import OutcomeStatus, Phase, Step
from yaoki.runs import ResourceBusyError, RunExecutor, RunRegistry, RunState, Steering
from yaoki.testing.simulation import Process, World, run_virtually

from .plans import ALWAYS, RUN, call, one, start, step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from yaoki.plans import Order, Outcome

LONG_S = 4.0


class Crew:
    """Processes with executors that supervise."""

    def __init__(self) -> None:
        self.world = World()
        self.processes: list[Process] = []
        self._tasks: list[asyncio.Task[None]] = []

    def join(self, name: str) -> tuple[RunExecutor, Process]:
        """One more."""
        process = Process(name)
        self.processes.append(process)
        executor = self.world.executor(process)
        self._tasks.append(asyncio.create_task(executor.supervise()))
        return executor, process

    async def until(self, condition: Callable[[], Awaitable[Any]], within_s: float = 600.0) -> Any:
        """The first true value of a condition."""
        async with asyncio.timeout(within_s):
            while not (value := await condition()):
                await self.world.clock.sleep(0.01)
            return value

    async def events(self, run_id: str = RUN) -> list[Any]:
        """The journal."""
        return [entry.event for entry in await self.world.journal.load("recovery", run_id)]

    async def leaders(self, run_id: str = RUN) -> list[str]:
        """Instances that led, in order."""
        return [event.instance for event in await self.events(run_id) if isinstance(event, LeaseTaken)]

    async def started(self, step: str) -> bool:
        """Whether an order of this step was given."""
        return any(getattr(event, "step", "") == step for event in await self.events())

    def effects(self) -> list[str]:
        """What was done."""
        return [f"{effect.step}.{effect.phase}" for effect in self.world.doing.effects]


def crew_test(test: Callable[[Crew], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time."""

    def run() -> None:
        async def scenario() -> None:
            await test(Crew())

        run_virtually(scenario())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@crew_test
async def test_a_run_of_a_killed_instance_is_taken_over_within_seconds(crew: Crew) -> None:
    """As soon as its lease has lapsed and somebody has looked."""
    first, process = crew.join("one")
    await first.start(start(one(step("a", takes_s=0.1), step("b", worker="local", takes_s=LONG_S), step("c"))))
    await crew.until(lambda: crew.started("b"))
    second, _ = crew.join("two")
    process.kill()
    died = crew.world.clock.monotonic()
    await crew.until(lambda: led_by(crew, "two"))

    assert crew.world.clock.monotonic() - died < 5.0
    assert (await second.finished(RUN)).ending is Ending.COMPLETED


async def led_by(crew: Crew, instance: str) -> bool:
    """Whether this instance has ever led the run."""
    return instance in await crew.leaders()


@crew_test
async def test_a_stopped_instance_hands_over_at_once_and_in_order(crew: Crew) -> None:
    """The lease does not have to lapse, and the change does not count against the step."""
    first, _ = crew.join("one")
    second, _ = crew.join("two")
    await first.start(start(one(*(step(f"s{n}", takes_s=1.0) for n in range(10)))))
    await crew.until(lambda: crew.started("s2"))
    await first.stop()
    stopped = crew.world.clock.monotonic()
    await crew.until(lambda: led_by(crew, "two"))

    assert crew.world.clock.monotonic() - stopped < 0.6
    takeover = [event for event in await crew.events() if isinstance(event, LeaseTaken)][-1]
    assert takeover.orderly
    assert (await second.finished(RUN)).ending is Ending.COMPLETED
    assert crew.effects() == [f"s{n}.do" for n in range(10)]


@crew_test
async def test_a_stopping_instance_begins_nothing_new(crew: Crew) -> None:
    """What is under way gets its outcome; the next intent is the successor's."""
    first, _ = crew.join("one")
    await first.start(start(one(step("a", takes_s=2.0), step("b"))))
    await crew.until(lambda: crew.started("a"))
    await first.stop()

    events = await crew.events()
    assert isinstance(events[-1], StepFinished)
    assert not await crew.started("b")


@crew_test
async def test_a_run_is_started_once_however_often_it_is_started(crew: Crew) -> None:
    """By redelivered messages, at several instances at once, and after its end."""
    executors = [crew.join(name)[0] for name in ("one", "two", "three")]
    plan = one(step("a"), step("b"))
    assert await asyncio.gather(*(executor.start(start(plan)) for executor in executors for _ in range(3))) == [RUN] * 9
    await executors[0].finished(RUN)
    await executors[1].start(start(plan))
    await crew.world.clock.sleep(60)

    assert crew.effects() == ["a.do", "b.do"]
    assert await executors[2].unfinished() == []


@crew_test
async def test_a_resource_is_held_by_one_unfinished_run(crew: Crew) -> None:
    """The second is refused with the name of the first, and may begin when that is over."""
    first, _ = crew.join("one")
    second, _ = crew.join("two")
    await first.start(start(one(step("a", takes_s=LONG_S))))
    with pytest.raises(ResourceBusyError) as refused:
        await second.start(start(one(step("b")), run_id="run-2"))
    await first.finished(RUN)
    await second.start(start(one(step("b")), run_id="run-2"))
    await second.finished("run-2")

    assert refused.value.run_id == RUN
    assert crew.effects() == ["a.do", "b.do"]


@crew_test
async def test_of_many_runs_that_want_a_resource_at_once_one_gets_it(crew: Crew) -> None:
    """Whatever the interleaving, effects of two never mix."""
    executors = [crew.join(f"instance-{n}")[0] for n in range(4)]
    plan = one(step("a", takes_s=1.0), step("b", takes_s=1.0))
    answers = await asyncio.gather(
        *(executor.start(start(plan, run_id=f"run-{n}")) for n, executor in enumerate(executors)),
        return_exceptions=True,
    )
    winners = [answer for answer in answers if isinstance(answer, str)]
    await executors[0].finished(winners[0])

    assert len(winners) == 1
    assert all(isinstance(answer, ResourceBusyError) for answer in answers if answer not in winners)
    assert crew.effects() == ["a.do", "b.do"]


@crew_test
async def test_runs_of_different_resources_go_on_at_the_same_time(crew: Crew) -> None:
    """A hundred of them on one executor take no longer than one."""
    executor, _ = crew.join("one")
    plan = one(step("a", takes_s=LONG_S), step("b", takes_s=LONG_S))
    for n in range(100):
        await executor.start(start(plan, run_id=f"run-{n}", resource=f"resource-{n}"))
    began = crew.world.clock.monotonic()
    states = await asyncio.gather(*(executor.finished(f"run-{n}") for n in range(100)))

    assert {state.ending for state in states} == {Ending.COMPLETED}
    assert crew.world.clock.monotonic() - began < 3 * 2 * LONG_S


@crew_test
async def test_a_run_that_was_claimed_and_never_written_down_is_not_lost(crew: Crew) -> None:
    """Its claim holds everything that is needed to begin it; any instance does."""
    registry = RunRegistry(crew.world.bucket("runs"))
    await registry.create(start(one(step("a"))).entry())
    executor, _ = crew.join("one")

    assert (await executor.finished(RUN)).ending is Ending.COMPLETED
    assert crew.effects() == ["a.do"]


@crew_test
async def test_everybody_who_asked_is_told_of_the_end_before_the_resource_is_free(crew: Crew) -> None:
    """A crash between the end and the telling has another instance tell."""
    told: list[RunState] = []

    async def tell(state: RunState) -> None:
        told.append(state)

    first, process = crew.join("one")
    first.on_finished(lambda _: crew.world.clock.sleep(1e6))
    await first.start(start(one(step("a"))))
    await crew.until(lambda: ended(crew))
    process.kill()
    second, _ = crew.join("two")
    second.on_finished(tell)
    await crew.until(lambda: free(crew))

    assert told
    assert told[0].ending is Ending.COMPLETED


async def ended(crew: Crew) -> bool:
    """Whether the journal has its last entry."""
    events = await crew.events()
    return bool(events) and isinstance(events[-1], RunFinished)


async def free(crew: Crew) -> bool:
    """Whether nobody holds the resource."""
    return await RunRegistry(crew.world.bucket("runs")).get("recovery", "orders") is None


@crew_test
async def test_a_worker_that_knows_a_higher_epoch_is_risen_above(crew: Crew) -> None:
    """An emptied control plane begins above everything that its agents have seen."""
    host = crew.world.host("host-a")
    known = Epoch(9_000_000, 4711)
    await host._worker._table.obey("orders", known)  # noqa: SLF001 - what an earlier control plane left there
    executor, _ = crew.join("one")
    await executor.start(start(one(step("a"), step("b"))))
    state = await executor.finished(RUN)

    assert state.ending is Ending.COMPLETED
    assert state.epoch > known
    assert crew.effects() == ["a.do", "b.do"]
    assert await crew.leaders() == ["one", "one"]


@crew_test
async def test_the_order_of_a_leader_that_was_replaced_is_refused(crew: Crew) -> None:
    """However late it arrives."""
    executor, _ = crew.join("one")
    await executor.start(start(one(step("a"), step("b"))))
    state = await executor.finished(RUN)
    old = state.order(state.orders[f"{RUN}.main.b.do.1"])
    stale = msgspec.structs.replace(old, command_id=f"{RUN}.main.b.do.99", epoch=Epoch(state.epoch.incarnation, 1))
    outcome = await crew.world.host("host-a").answer("perform", stale)

    assert outcome is not None
    assert (outcome.status, outcome.error_code) == (OutcomeStatus.REFUSED, "stale_epoch")
    assert crew.effects() == ["a.do", "b.do"]


@crew_test
async def test_another_instance_steers_the_run_that_this_one_drives(crew: Crew) -> None:
    """The order stands in the journal, where the leader reads it."""
    first, _ = crew.join("one")
    second, _ = crew.join("two")
    await first.start(start(one(*(step(f"s{n}", takes_s=1.0) for n in range(20)))))
    await crew.until(lambda: crew.started("s3"))
    await second.steer(RUN, Steering(intervention=Intervention.PAUSE, by="alice"))
    await crew.world.clock.sleep(60)
    view = await second.view(RUN)
    paused_at = len(crew.effects())
    await second.steer(RUN, Steering(intervention=Intervention.RESUME, by="alice"))

    assert view is not None
    assert view.status == "paused"
    assert "alice" in view.reason
    assert paused_at < 7
    assert (await first.finished(RUN)).ending is Ending.COMPLETED


@crew_test
async def test_an_abort_withdraws_what_has_not_begun_and_undoes_the_rest(crew: Crew) -> None:
    """The worker that is away acknowledges when it is back, and only then is its step undone."""
    executor, _ = crew.join("one")
    await executor.start(start(one(step("a"), step("b", worker="host-b", timeout_s=600.0))))
    crew.world.host("host-b").kill()
    await crew.until(lambda: crew.started("b"))
    await executor.steer(RUN, Steering(intervention=Intervention.ABORT, by="alice"))
    crew.world.host("host-b").restart()
    state = await executor.finished(RUN)

    assert state.ending is Ending.CANCELLED
    assert crew.effects() == ["a.do", "a.undo"]


@crew_test
async def test_an_order_that_is_still_on_its_way_when_it_is_withdrawn_never_begins(crew: Crew) -> None:
    """The worker acknowledged that, long before the order expires and before it arrived."""
    host = crew.world.host("host-b")
    real = host.answer

    async def answer(verb: str, order: Order) -> Outcome | None:
        if verb == "perform":
            await crew.world.clock.sleep(20.0)
        return await real(verb, order)

    host.answer = answer  # type: ignore[method-assign] # the link, not the worker, is slow
    executor, _ = crew.join("one")
    await executor.start(start(one(step("a"), step("b", worker="host-b", timeout_s=600.0))))
    await crew.until(lambda: crew.started("b"))
    await executor.steer(RUN, Steering(intervention=Intervention.ABORT, by="alice"))
    state = await executor.finished(RUN)
    await crew.world.clock.sleep(60.0)

    assert state.ending is Ending.CANCELLED
    assert crew.effects() == ["a.do", "a.undo"]


@crew_test
async def test_a_repeated_steering_order_counts_once(crew: Crew) -> None:
    """Its message may be delivered again."""
    executor, _ = crew.join("one")
    await executor.start(start(one(step("a", fails=1, takes_s=LONG_S))))
    await crew.until(lambda: crew.started("a"))
    retry = Steering(intervention=Intervention.RETRY, step="a", by="alice", order_id="order-1")
    for _ in range(3):
        await executor.steer(RUN, retry)
    state = await executor.finished(RUN)

    assert state.interventions == 1
    assert state.ending is Ending.COMPLETED


@crew_test
async def test_a_step_that_takes_its_runner_down_is_left_to_a_person(crew: Crew) -> None:
    """Three runners died of it; the fourth asks instead."""
    await crew.join("zero")[0].start(start(one(step("a"), step("b", worker="local", takes_s=60.0, timeout_s=600.0))))
    for n in range(1, 4):
        await crew.until(lambda: crew.started("b"))
        for process in crew.processes:
            process.kill()
        crew.join(f"instance-{n}")
        await crew.until(lambda n=n: led_by(crew, f"instance-{n}"))  # type: ignore[misc]
        await crew.world.clock.sleep(1.0)

    (paused,) = [event for event in await crew.events() if isinstance(event, RunPaused)]
    assert paused.step == "b"
    assert crew.effects() == ["a.do"]


@crew_test
async def test_a_late_success_of_a_step_given_up_is_written_down_and_undone(crew: Crew) -> None:
    """The worker did it, and no reply came through until the run had given it up."""
    host, cut = crew.world.host("host-b"), True
    real = host.answer

    async def answer(verb: str, order: Order) -> Outcome | None:
        outcome = await real(verb, order)
        if cut:
            raise TransientError("the reply is lost")
        return outcome

    host.answer = answer  # type: ignore[method-assign] # the link, not the worker, breaks
    executor, _ = crew.join("one")
    await executor.start(start(one(step("a"), step("b", worker="host-b", timeout_s=5.0, undo_attempts=50))))
    await crew.until(lambda: gave_up(crew, "b"))
    cut = False
    state = await executor.finished(RUN)

    assert state.ending is Ending.ROLLED_BACK
    assert crew.effects() == ["a.do", "b.do", "b.undo", "a.undo"]
    (late,) = [event for event in await crew.events() if isinstance(event, LateReplyRecorded)]
    assert (late.step, late.status) == ("b", OutcomeStatus.SUCCEEDED)


async def gave_up(crew: Crew, step: str) -> bool:
    """Whether the run has recorded the step's outcome as unknown."""
    return any(
        isinstance(event, StepFinished) and event.step == step and event.status is OutcomeStatus.UNKNOWN
        for event in await crew.events()
    )


@crew_test
async def test_references_take_the_values_of_earlier_steps_with_their_types(crew: Crew) -> None:
    """Into parameters and into the name of the worker."""
    executor, _ = crew.join("one")
    choose = Step(id="choose", do=call(answers={"agent": "host-b", "lag": 17, "parts": {"lsn": "0/3"}}))
    act = Step(
        id="act",
        do=call(
            "${choose.agent}", answers={"lag": "${choose.lag}", "text": "at ${choose.parts.lsn} of ${run.cluster}"}
        ),
    )
    await executor.start(start(one(choose, act), facts={"cluster": "orders"}))
    state = await executor.finished(RUN)

    assert state.result("act") == {"lag": 17, "text": "at 0/3 of orders"}
    assert state.orders[f"{RUN}.main.act.do.1"].intent.worker == "host-b"


@crew_test
async def test_a_reference_to_what_a_step_did_not_answer_fails_the_step(crew: Crew) -> None:
    """Nothing is ordered, and the sentence names the reference and what there is."""
    executor, _ = crew.join("one")
    act = Step(id="act", do=call(answers={"x": "${choose.agent}"}))
    await executor.start(start(one(Step(id="choose", do=call(answers={"lag": 1})), act)))
    state = await executor.finished(RUN)
    order = state.orders[f"{RUN}.main.act.do.1"]

    assert state.ending is Ending.ROLLED_BACK
    assert order.status is OutcomeStatus.REFUSED
    assert "${choose.agent}" in order.error
    assert "lag" in order.error
    assert crew.effects() == ["choose.do"]


@crew_test
async def test_a_plan_that_cannot_be_run_is_refused_with_every_mistake(crew: Crew) -> None:
    """And nothing is claimed or written."""
    executor, _ = crew.join("one")
    plan = one(step("a", attempts=0), step("a"), Step(id="goal", do=call(answers={"x": "${later.y}"})))
    with pytest.raises(RejectedError) as refused:
        await executor.start(start(plan))

    for mistake in ("attempts is 0", "found twice", "reserved", "${later.y}"):
        assert mistake in refused.value.message
    assert await crew.events() == []
    assert await free(crew)


@crew_test
async def test_a_journal_that_contradicts_itself_ends_the_run_as_error(crew: Crew) -> None:
    """Somebody else wrote there; nothing more is done, and the resource becomes free."""
    entry = start(one(step("a"))).entry()
    await RunRegistry(crew.world.bucket("runs")).create(entry)
    await crew.world.journal.append(entry, after=0, event_id="one")
    stray = StepFinished(
        run_kind="recovery",
        run_id=RUN,
        branch="main",
        step="a",
        phase=Phase.DO,
        attempt=1,
        command_id="nobody-ordered-this",
        status=OutcomeStatus.SUCCEEDED,
    )
    await crew.world.journal.append(stray, after=1, event_id="two")
    crew.join("one")
    await crew.until(lambda: free(crew))

    last = (await crew.events())[-1]
    assert isinstance(last, RunFinished)
    assert last.ending is Ending.ERROR
    assert "nobody-ordered-this" in last.reason
    assert crew.effects() == []


@crew_test
async def test_the_summary_of_a_finished_run_lists_every_order(crew: Crew) -> None:
    """In the sequence in which they were given, with what became of them."""
    executor, _ = crew.join("one")
    await executor.start(start(one(step("a"), step("b", attempts=2, retry_delay_s=0, fails=ALWAYS))))
    await executor.finished(RUN)
    finished = (await crew.events())[-1]

    assert [(s.step, s.phase, s.attempts, s.status) for s in finished.steps] == [
        ("a", "do", 1, "succeeded"),
        ("b", "do", 1, "failed"),
        ("b", "do", 2, "failed"),
        ("b", "undo", 1, "succeeded"),
        ("a", "undo", 1, "succeeded"),
    ]
    view = await executor.view(RUN)
    assert view is not None
    assert view.steps == finished.steps
    assert (view.status, view.resource, view.leader) == ("rolled_back", "orders", "one")

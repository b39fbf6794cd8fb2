"""Workers on hosts of their own, with a durable table, whose processes may die and be started again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from yaoki.errors import RejectedError, TransientError
from yaoki.plans import Effect as EffectKind
from yaoki.plans import Order, Outcome, Phase
from yaoki.runs import Action, ActionFailedError, ActionResult, DurableWorker, OrderTable, PreconditionFailedError
from yaoki.testing.simulation.network import Calls, Network
from yaoki.testing.simulation.process import CrashPoint, Process

if TYPE_CHECKING:
    import random

    from yaoki.clock import Clock
    from yaoki.messaging.ports import KeyValue


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a worker did to the world.

    Attributes:
        failed: It was done in part, and its action then failed.
        epoch: Of the order as it was performed.
    """

    at: float
    command_id: str
    step: str
    phase: Phase
    failed: bool
    epoch: tuple[int, int]


class Doing:
    """What the actions of all workers do; `effects` is what the world has seen.

    How an order goes is said by its params: `fails` (so often, partly done), `refuses`, `skips`, `takes_s`,
    `answers` (its result).
    """

    def __init__(self, rng: random.Random, clock: Clock) -> None:
        self.effects: list[Effect] = []
        self._rng = rng
        self._clock = clock

    def action(self, process: Process) -> Action:
        """The action as a process carries it out: it stops where the process dies."""

        async def handle(order: Order) -> ActionResult:
            return await self._perform(order, process)

        return Action(handle, observe=self._observe)

    async def _perform(self, order: Order, process: Process) -> ActionResult:
        params = order.params
        await self._clock.sleep(self._rng.uniform(0.0, params.get("takes_s", 0.01)))
        await process.alive()
        if params.get("refuses"):
            raise RejectedError("refused (simulated)")
        if params.get("skips"):
            raise PreconditionFailedError("nothing to do (simulated)")
        failed = self._count(order) < params.get("fails", 0)
        if order.phase is not Phase.VERIFY:
            self.effects.append(
                Effect(
                    at=self._clock.monotonic(),
                    command_id=order.command_id,
                    step=order.step,
                    phase=order.phase,
                    failed=failed,
                    epoch=(order.epoch.incarnation, order.epoch.counter),
                )
            )
        await self._clock.sleep(self._rng.uniform(0.0, params.get("takes_s", 0.01)))
        await process.alive()
        if failed:
            raise ActionFailedError("failed (simulated)")
        return ActionResult(result=params.get("answers", {}))

    async def _observe(self, order: Order) -> ActionResult | None:
        if order.effect is not EffectKind.OBSERVABLE:
            raise TransientError("this effect cannot be observed (simulated)")
        if any(effect.command_id == order.command_id for effect in self.effects):
            return ActionResult(result=order.params.get("answers", {}))
        return None

    def _count(self, order: Order) -> int:
        """Orders of this step and phase that have taken effect before, each once."""
        return len(
            {
                effect.command_id
                for effect in self.effects
                if (effect.step, effect.phase) == (order.step, order.phase) and effect.command_id != order.command_id
            }
        )


class Host:
    """One worker. `kill` ends its process, `restart` starts another of the same name."""

    def __init__(self, name: str, doing: Doing, table: KeyValue, network: Network, clock: Clock) -> None:
        self.name = name
        self._doing = doing
        self._kv = table
        self._network = network
        self._clock = clock
        self.kills = 0
        self._start()

    def kill(self) -> None:
        """SIGKILL: what was begun stays begun, and nobody answers."""
        self.kills += 1
        self.process.kill()

    def restart(self) -> None:
        """A new process with the same table."""
        self.process.kill()
        self._start()

    def as_reached_by(self, caller: Process) -> RemoteHost:
        """The worker as an executor's process sees it."""
        return RemoteHost(self, caller, self._network)

    async def answer(self, verb: str, order: Order) -> Outcome | None:
        """What the present process answers."""
        if self.process.dead:
            raise TransientError(f"nobody answers for {self.name} (simulated)")
        outcome: Outcome | None = await getattr(self._worker, verb)(order)
        return outcome

    def _start(self) -> None:
        self.process = Process(self.name)
        kv: Any = Calls(self._kv, self.process, self._network)
        table = OrderTable(kv, worker=self.name, instance=self.name, clock=self._clock)
        self._worker = DurableWorker({"act": self._doing.action(self.process)}, table, clock=self._clock)


class RemoteHost:
    """See `yaoki.runs.ports.Worker`: a host over the network."""

    def __init__(self, host: Host, caller: Process, network: Network) -> None:
        self._host = host
        self._caller = caller
        self._network = network

    async def perform(self, order: Order) -> Outcome:
        """See `Worker.perform`."""
        if self._caller.passing(CrashPoint.COMMAND_SENT):
            self._network.later(lambda: self._host.answer("perform", order))
        return await self._call("perform", order)

    async def ask(self, order: Order) -> Outcome | None:
        """See `Worker.ask`."""
        return await self._network.call(self._caller, lambda: self._host.answer("ask", order))

    async def cancel(self, order: Order) -> Outcome:
        """See `Worker.cancel`."""
        return await self._call("cancel", order)

    async def _call(self, verb: str, order: Order) -> Outcome:
        outcome = await self._network.call(self._caller, lambda: self._host.answer(verb, order))
        if outcome is None:
            raise TransientError(f"{self._host.name} gave no answer (simulated)")
        return outcome

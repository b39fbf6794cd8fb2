"""Plays a run on paper: decisions are taken and written down at once, outcomes come from a script, time jumps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from yaoki.events.runs import (
    BranchDeferred,
    Intervention,
    LateReplyRecorded,
    LeaseTaken,
    OperatorIntervened,
    RunFinished,
    RunPaused,
    StepFinished,
    StepStarted,
)
from yaoki.plans import OutcomeStatus, Phase
from yaoki.runs.decide import decide
from yaoki.runs.decisions import CarryOn, Decision, Defer, Finish, Hold, Pause, StartOrder, WaitForPerson, WaitUntil
from yaoki.runs.fold import apply, fold
from yaoki.runs.ports import Recorded

from .plans import RUN, start

if TYPE_CHECKING:
    from yaoki.events.runs import RunEvent
    from yaoki.plans import Plan
    from yaoki.runs.state import RunState

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)

Said = str | tuple[str, str]
"""Status of an outcome, with its error code if that matters."""


class Desk:
    """One run.

    Args:
        plan: Of the run.
        outcomes: What orders come to, by `<step>.<phase>`, one after the other; the last one repeats. Everything
            else succeeds.

    Attributes:
        said: What happened, as `<step>.<phase>.<number> <status>`, `wait <seconds>`, `pause <step>`, `defer <branch>`,
            `end <ending>`.
        hold: What holds disruptive branches now; it is gone once its `until` is over.
    """

    def __init__(self, plan: Plan, **outcomes: list[Said] | Said) -> None:
        self.now = BEGINNING
        self.hold: Hold | None = None
        self.said: list[str] = []
        self.entries: list[Recorded] = []
        self._outcomes = {
            name.replace("__", ".").replace("_", "-"): list(said) if isinstance(said, list) else [said]
            for name, said in outcomes.items()
        }
        self._given: dict[str, int] = {}
        self.state = self._begin(plan)
        self.lead("instance-1")

    def _begin(self, plan: Plan) -> RunState:
        self.entries.append(self._recorded(start(plan).entry()))
        state = fold(self.entries)
        assert state is not None
        return state

    def _recorded(self, event: RunEvent) -> Recorded:
        number = len(self.entries) + 1
        return Recorded(event=event, id=f"id-{number}", sequence=number, at=self.now)

    def write(self, event: RunEvent) -> None:
        """Append an entry."""
        self.entries.append(self._recorded(event))
        apply(self.state, self.entries[-1])

    def lead(self, instance: str, *, orderly: bool = False) -> None:
        """Another leader."""
        self.write(LeaseTaken(run_kind="recovery", run_id=RUN, instance=instance, incarnation=1, orderly=orderly))

    def steer(self, intervention: Intervention, step: str = "", **more: Any) -> None:
        """A person's order."""
        self.write(
            OperatorIntervened(
                run_kind="recovery", run_id=RUN, intervention=intervention, step=step, by="alice", **more
            )
        )

    def late(self, command: str, status: OutcomeStatus) -> None:
        """A reply to an order that was given up, e.g. `a.do.1`."""
        order = next(order for name, order in self.state.orders.items() if name.endswith(command))
        self.write(
            LateReplyRecorded(
                run_kind="recovery",
                run_id=RUN,
                command_id=order.intent.command_id,
                step=order.intent.step,
                status=status,
            )
        )

    def decide(self) -> tuple[Decision, ...]:
        """What is to be done now."""
        over = self.hold is not None and self.hold.until is not None and self.now >= self.hold.until
        return decide(self.state, self.now, None if over else self.hold)

    def begin_orders(self) -> list[StepStarted]:
        """Write the intents that are decided now, without outcomes."""
        return [self._intend(decision) for decision in self.decide() if isinstance(decision, StartOrder)]

    def play(self, *, until: str = "") -> list[str]:
        """Go on until the run ends or waits for a person, or until this was said; everything said in this call."""
        already = len(self.said)
        for _ in range(10_000):
            for decision in self.decide():
                self._carry_out(decision)
                if until and self.said and self.said[-1].startswith(until):
                    return self.said[already:]
            if self.state.ending is not None or isinstance(self.decide()[-1], WaitForPerson):
                return self.said[already:]
        raise AssertionError(f"the run goes on for ever: {self.said[-5:]}")

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case StartOrder():
                self.finish(self._intend(decision))
            case CarryOn(order=order):
                for unsettled in decision.settle:
                    self.late(unsettled.intent.command_id, OutcomeStatus.UNKNOWN)
                self.finish(order.intent)
            case WaitUntil(at=at):
                self.said.append(f"wait {(at - self.now).total_seconds():g}")
                self.now = at
            case Pause(step=step, reason=reason):
                self.said.append(f"pause {step}")
                self.write(RunPaused(run_kind="recovery", run_id=RUN, reason=reason, step=step))
            case Defer(branch=branch, hold=hold):
                self.said.append(f"defer {branch}")
                self.write(
                    BranchDeferred(run_kind="recovery", run_id=RUN, branch=branch, hold=hold.name, reason=hold.reason)
                )
            case Finish(ending=ending, reason=reason):
                self.said.append(f"end {ending}")
                self.write(RunFinished(run_kind="recovery", run_id=RUN, ending=ending, duration_s=0.0, reason=reason))
            case _:
                pass

    def _intend(self, decision: StartOrder) -> StepStarted:
        for unsettled in decision.settle:
            self.late(unsettled.intent.command_id, OutcomeStatus.UNKNOWN)
        self.now += timedelta(milliseconds=1)
        intent = StepStarted(
            run_kind="recovery",
            run_id=RUN,
            branch=decision.branch,
            step=decision.step,
            phase=decision.phase,
            attempt=decision.attempt,
            command_id=f"{RUN}.{decision.branch}.{decision.step}.{decision.phase}.{decision.number}",
            worker=decision.call.worker,
            action=decision.call.action,
            params=decision.call.params,
            epoch=self.state.epoch,
            expires_at=self.now + timedelta(seconds=decision.timeout_s),
        )
        self.write(intent)
        return intent

    def finish(self, intent: StepStarted) -> None:
        """Write the scripted outcome of an intent."""
        said = self._outcome(f"{intent.step}.{intent.phase}")
        status, code = said if isinstance(said, tuple) else (said, "")
        name = ".".join(intent.command_id.split(".")[2:])
        self.said.append(f"{name} {status}")
        self.write(
            StepFinished(
                run_kind="recovery",
                run_id=RUN,
                branch=intent.branch,
                step=intent.step,
                phase=Phase(intent.phase),
                attempt=intent.attempt,
                command_id=intent.command_id,
                status=OutcomeStatus(status),
                error_code=code,
            )
        )

    def _outcome(self, name: str) -> Said:
        script = self._outcomes.get(name, ["succeeded"])
        given = self._given.get(name, 0)
        self._given[name] = given + 1
        return script[min(given, len(script) - 1)]

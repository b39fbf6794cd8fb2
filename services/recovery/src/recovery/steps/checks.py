"""Fresh probes: whether an action worked, and whether a failure is still there before anything is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.events.probe import ProbeResult, ProbeStatus
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.plans import Order
    from yaoki.runs.actions import Handler

    from recovery.ports import Prober

_SUCCESSES = 2
_BETWEEN_S = 0.2
_LONGEST_PROBE_S = 5.0
_WELL = frozenset({ProbeStatus.HEALTHY, ProbeStatus.DEGRADED})


class CheckSteps:
    """Probe a target until it has been well twice in a row. Unknown is not well."""

    def __init__(self, prober: Prober, clock: Clock) -> None:
        self._prober = prober
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """By action name."""
        return {"check-target": self.check_target, "recheck": self.recheck}

    async def check_target(self, order: Order) -> ActionResult:
        """Succeed when the target is well twice in a row, each time on a fresh connection."""
        result = await self._probe_in_a_row(order)
        if result.status not in _WELL:
            raise ActionFailedError(f"{order.params['target']} is {_described(result)}")
        return ActionResult(result={"status": result.status.value, "response_ms": result.response_ms})

    async def recheck(self, order: Order) -> ActionResult:
        """Succeed when the failure is gone by itself, so that nothing needs to be done; else the step is skipped."""
        result = await self._probe_in_a_row(order)
        if result.status not in _WELL:
            raise PreconditionFailedError(f"{order.params['target']} is still {_described(result)}")
        return ActionResult(result={"status": result.status.value})

    async def _probe_in_a_row(self, order: Order) -> ProbeResult:
        target = str(order.params["target"])
        left = (order.expires_at - self._clock.now()).total_seconds()
        within = max(0.1, min(_LONGEST_PROBE_S, float(order.params.get("within_s", _LONGEST_PROBE_S)), left))
        result = await self._prober.check(target, within)
        for _ in range(_SUCCESSES - 1):
            if result.status not in _WELL:
                break
            await self._clock.sleep(_BETWEEN_S)
            result = await self._prober.check(target, within)
        return result


def _described(result: ProbeResult) -> str:
    return f"{result.status.value}: {result.detail}" if result.detail else result.status.value

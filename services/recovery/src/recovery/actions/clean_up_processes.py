"""End processes that a rule of the host allows to be ended, after the largest consumers were recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Call

from recovery.actions.kind import NotApplicable
from recovery.failover import agent_worker
from recovery.hand_steps import hand_steps

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class CleanUpProcesses:
    """The rules are `agents.<agent>.repairs.clean_up`; parameter `rule` (default: all of them)."""

    name = "clean-up-processes"
    impairs_users = False
    disruptive = True

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        if not request.repaired_host:
            return NotApplicable("it needs a target that an agent with repairs probes (targets.<target>.agent)")
        params = {"rule": rule} if (rule := str(request.param("rule", ""))) else {}
        call = Call(worker=agent_worker(request.repaired_host), action="processes.end", params=params)
        steps = hand_steps(self.name, call, request, timeout_s=60.0)
        return (Branch(name=self.name, steps=steps, verify=request.check(), verify_timeout_s=15.0),)

"""Delete logs of the host that are older than seven days."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Call

from recovery.actions.kind import NotApplicable
from recovery.failover import agent_worker
from recovery.hand_steps import hand_steps

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class CleanUpLogs:
    """The directories are `agents.<agent>.repairs.logs`, each with its own age; parameter `directory` (or all)."""

    name = "clean-up-logs"
    impairs_users = False
    disruptive = False

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        if not request.repaired_host:
            return NotApplicable("it needs a target that an agent with repairs probes (targets.<target>.agent)")
        params = {"directory": directory} if (directory := str(request.param("directory", ""))) else {}
        call = Call(worker=agent_worker(request.repaired_host), action="logs.delete", params=params)
        steps = hand_steps(self.name, call, request, timeout_s=60.0)
        return (Branch(name=self.name, steps=steps, verify=request.check(), verify_timeout_s=15.0),)

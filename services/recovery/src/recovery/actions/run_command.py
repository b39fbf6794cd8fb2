"""Run a command of a host that the configuration allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch

from recovery.actions.kind import NotApplicable
from recovery.hand_steps import command_call, hand_steps

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class RunCommand:
    """Parameters: `command`, a name in `agents.<agent>.repairs.commands`; `agent` (default: the target's)."""

    name = "run-command"
    impairs_users = False
    disruptive = True

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        agent = str(request.param("agent", request.repaired_host))
        command = str(request.param("command", ""))
        host = request.config.agents.get(agent)
        if host is None or host.repairs is None or command not in host.repairs.commands:
            return NotApplicable(
                f"it needs a parameter 'command' out of agents.<agent>.repairs.commands of the target's agent or of "
                f"the parameter 'agent' (found agent {agent!r}, command {command!r})"
            )
        call, effect, timeout_s = command_call(request, agent, command)
        steps = hand_steps(self.name, call, request, timeout_s=timeout_s, effect=effect)
        return (Branch(name=self.name, steps=steps, verify=request.check(), verify_timeout_s=15.0),)

"""Steps that use a hand: a dry run, which stands in the journal, then the act, which is compared with it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Call, Effect, Step, StepKind

from recovery.failover import agent_worker

if TYPE_CHECKING:
    from yaoki.config.applications import BalancedServer, Instance

    from recovery.actions.kind import ActionRequest

HANDS = "recovery-hands"
"""Worker of the hands that need no host: this service, with a table of orders that all its instances share."""
_LOOK_S = 20.0
_RESTART_S = 120.0
_SET_S = 15.0


def hand_steps(
    step_id: str,
    call: Call,
    request: ActionRequest,
    *,
    timeout_s: float,
    effect: Effect = Effect.IDEMPOTENT,
    required: bool = True,
) -> tuple[Step, Step]:
    """Look, then act on what was seen.

    Args:
        step_id: Of the act; the look before it is `look-<step_id>`.
        call: What to order.
        request: Its link may give a timeout and attempts.
        timeout_s: For the act, unless the link says otherwise.
        effect: See `Effect`.
        required: False: the branch goes on when it fails.
    """
    look = Step(
        id=f"look-{step_id}",
        do=_with(call, dry_run=True),
        timeout_s=_LOOK_S,
        required=required,
    )
    act = Step(
        id=step_id,
        do=_with(call, before=f"${{look-{step_id}.before}}"),
        kind=StepKind.FORWARD,
        effect=effect,
        timeout_s=request.link.timeout or timeout_s,
        attempts=request.link.attempts if effect is Effect.IDEMPOTENT else 1,
        required=required,
    )
    return look, act


def restart_branch(name: str, instances: tuple[Instance, ...], request: ActionRequest) -> Branch:
    """Restart instances one after the other, each drained before and ready again after where HAProxy sends to it.

    With several instances one that cannot be restarted does not keep the others from it.
    """
    steps: list[Step] = []
    for index, instance in enumerate(instances, 1):
        steps += _restart(f"{name}-{index}", instance, request, required=len(instances) == 1)
    return Branch(name=name, steps=tuple(steps), verify=request.check(), verify_timeout_s=30.0)


def _restart(step_id: str, instance: Instance, request: ActionRequest, *, required: bool) -> list[Step]:
    call, effect, timeout_s = _call(instance, request)
    restart = hand_steps(step_id, call, request, timeout_s=timeout_s, effect=effect, required=required)
    if instance.behind is None:
        return list(restart)
    before, after = _aside(step_id, instance.behind)
    return [before, *restart, after]


def _aside(step_id: str, behind: BalancedServer) -> tuple[Step, Step]:
    """Take it out of the balancer, and back. A failed drain is no reason not to repair; being ready again is a must."""
    ready = _set(behind, state="ready")
    drain = Step(
        id=f"drain-{step_id}",
        do=_set(behind, state="drain", patience_s=behind.drain),
        undo=ready,
        timeout_s=behind.drain + _SET_S,
        required=False,
    )
    back = Step(id=f"ready-{step_id}", do=ready, kind=StepKind.FORWARD, timeout_s=_SET_S, attempts=5)
    return drain, back


def _set(behind: BalancedServer, **params: object) -> Call:
    place = {"backend": behind.backend, "server": behind.server}
    return Call(worker=agent_worker(behind.agent), action="haproxy.set-server", params={**place, **params})


def _call(instance: Instance, request: ActionRequest) -> tuple[Call, Effect, float]:
    if instance.deployment is not None:
        params = {"kubernetes": instance.kubernetes, "deployment": instance.deployment}
        return Call(worker=HANDS, action="kubernetes.restart", params=params), Effect.IDEMPOTENT, 3 * _RESTART_S
    worker = agent_worker(instance.agent or "")
    if instance.unit is not None:
        return (
            Call(worker=worker, action="systemd.restart", params={"unit": instance.unit}),
            Effect.IDEMPOTENT,
            _RESTART_S,
        )
    if instance.process is not None:
        params = {"process": instance.process}
        return Call(worker=worker, action="process.restart", params=params), Effect.IDEMPOTENT, _RESTART_S
    if instance.container is not None:
        params = {"container": instance.container}
        return Call(worker=worker, action="docker.restart", params=params), Effect.IDEMPOTENT, _RESTART_S
    return command_call(request, instance.agent or "", instance.command or "")


def command_call(request: ActionRequest, agent: str, command: str) -> tuple[Call, Effect, float]:
    """A command of a host, with the effect and the time that its settings there name."""
    host = request.config.agents.get(agent)
    settings = host.repairs.commands.get(command) if host is not None and host.repairs is not None else None
    effect = Effect(settings.effect) if settings else Effect.ONCE
    call = Call(worker=agent_worker(agent), action="command.run", params={"command": command})
    return call, effect, (settings.timeout if settings else _RESTART_S) + _SET_S


def _with(call: Call, **params: object) -> Call:
    return Call(worker=call.worker, action=call.action, params={**call.params, **params})

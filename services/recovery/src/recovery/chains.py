"""From a failure to a plan. Pure: failure type, target and configuration in, the alternatives to try out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from yaoki.events.probe import FailureType
from yaoki.plans import Branch, Plan, Step

from recovery.actions import ACTIONS, ActionKind, ActionRequest, NotApplicable
from recovery.actions.enable_maintenance import maintenance_step
from recovery.failover import local

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from yaoki.config.chains import ChainLink
    from yaoki.config.model import Config

_RECHECK_S = 1.0

_REPEATED = frozenset({"switch-database", "switch-redis"})
"""Whoever fails after a switch is another server: switching again is the next action then, not the same one."""

SPARES_USERS = frozenset(
    {
        FailureType.BACKUP_STALE,
        FailureType.EXTERNAL_SERVICE,
        FailureType.HEARTBEAT_MISSED,
        FailureType.REPLICATION_LAG,
        FailureType.STORAGE,
    }
)
"""Users can go on working in these: people are called, and nobody is shown a maintenance page for it."""


class NoPlan(msgspec.Struct, frozen=True):
    """Automation has nothing to try: people are called at once. The sentence says why."""

    reason: str


def plan_for(
    config: Config,
    target: str,
    failure_type: FailureType,
    *,
    recheck: bool,
    after: str = "",
    only: str = "",
    actions: tuple[ActionKind, ...] = ACTIONS,
) -> Plan | NoPlan:
    """The chain of a failure type, applied to a target.

    Every action becomes one or more branches, ended by the first that a fresh probe verifies. When all are spent,
    maintenance mode is turned on and people are called, as steps of the plan and therefore durable.

    Args:
        config: Holds target, cluster and chains.
        target: Name of a configured target.
        failure_type: Chooses the chain.
        actions: Those that exist, by their names.
        recheck: Look first whether the failure is gone by itself, and let planned maintenance hold disruptive actions
            back; a person who orders a chain wants it run.
        after: The branch that helped last time, when the failure is back before its soak time is over: the chain goes
            on behind it.
        only: Run no other action of the chain than this; all when empty.
    """
    by_name = {action.name: action for action in actions}
    links = _links(config, failure_type, only, by_name)
    if isinstance(links, NoPlan):
        return links
    planned = [_planned(by_name[link.action], ActionRequest(target=target, config=config, link=link)) for link in links]
    planned = planned[_resumed(planned, after) :]
    if not planned:
        return NoPlan(f"{target!r} failed again soon after {after}, the last action of the chain, had repaired it")
    if all(isinstance(one.found, NotApplicable) for one in planned):
        reasons = "; ".join(f"{one.link.action}: {_reason(one)}" for one in planned)
        return NoPlan(f"no action of the chain for {failure_type.value} can help {target!r} ({reasons})")
    first = (_recheck("recheck", target),) if recheck else ()
    return Plan(
        name=failure_type.value,
        branches=(*first, *_delayed(planned, target, config.recovery.transition_delay, automatic=recheck)),
        on_exhausted=_exhausted(target, failure_type),
    )


def _links(
    config: Config, failure_type: FailureType, only: str, by_name: Mapping[str, ActionKind]
) -> tuple[ChainLink, ...] | NoPlan:
    """The chain's entries, or what is wrong with them."""
    links = config.recovery.chain(failure_type)
    if not links:
        return NoPlan(f"no chain of actions is configured for {failure_type.value} (recovery.chains in yaoki.yaml)")
    names = [link.action for link in links]
    if only and only not in names:
        return NoPlan(f"the chain for {failure_type.value} has no action {only!r}; it has {', '.join(names)}")
    if unknown := [name for name in names if name not in by_name]:
        return NoPlan(f"the chain for {failure_type.value} names unknown actions: {', '.join(unknown)}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        return NoPlan(
            f"the chain for {failure_type.value} names {', '.join(twice)} twice; use the link's attempts instead"
        )
    return tuple(link for link in links if not only or link.action == only)


def _resumed(planned: list[_Planned], after: str) -> int:
    """Index of the first link that is left; 0 when `after` is none of this chain's branches."""
    for index, one in enumerate(planned):
        if isinstance(one.found, tuple) and after in {branch.name for branch in one.found}:
            return index if one.link.action in _REPEATED else index + 1
    return 0


class _Planned(msgspec.Struct, frozen=True):
    link: ChainLink
    kind: ActionKind
    found: tuple[Branch, ...] | NotApplicable


def _planned(kind: ActionKind, request: ActionRequest) -> _Planned:
    return _Planned(request.link, kind, kind.branches(request))


def _reason(planned: _Planned) -> str:
    return planned.found.reason if isinstance(planned.found, NotApplicable) else ""


def _recheck(name: str, target: str) -> Branch:
    """Ends the run when the failure is gone by itself; skipped at once while it is not."""
    do = local("recheck", target=target, within_s=_RECHECK_S)
    return Branch(name=name, steps=(Step(id=name, do=do, timeout_s=3 * _RECHECK_S),))


def _delayed(planned: list[_Planned], target: str, default_s: float, *, automatic: bool) -> Iterator[Branch]:
    """Branches in order; each waits for what the link before it says, the first for nothing."""
    delay_s = 0.0
    for one in planned:
        for branch in _branches(one, target, again=one is not planned[0], automatic=automatic):
            yield msgspec.structs.replace(branch, delay_s=delay_s)
            delay_s = 0.0
        delay_s = default_s if one.link.delay is None else one.link.delay


def _branches(planned: _Planned, target: str, *, again: bool, automatic: bool) -> tuple[Branch, ...]:
    name = planned.link.action
    if isinstance(planned.found, NotApplicable):
        step = Step(id=f"{name}-not-applicable", do=local("not-applicable", reason=planned.found.reason))
        return (Branch(name=name, steps=(step,)),)
    if planned.link.dry_run:
        return tuple(map(_dry, planned.found))
    found = planned.found
    if planned.kind.disruptive and automatic:
        found = _held_back(name, target, found)
    if planned.kind.impairs_users and again:
        return (_recheck(f"recheck-before-{name}", target), *found)
    return found


def _dry(branch: Branch) -> Branch:
    """Only the looks of its hands, then what else it would order, as the reason why nothing is done."""
    looks = tuple(step for step in branch.steps if step.do.params.get("dry_run"))
    would = ", ".join(f"{step.do.action} of {step.do.worker}" for step in branch.steps if step not in looks)
    said = Step(id=f"{branch.name}-dry-run", do=local("not-applicable", reason=f"dry run; it would order {would}"))
    tolerated = tuple(msgspec.structs.replace(step, required=False) for step in looks)
    return msgspec.structs.replace(branch, steps=(*tolerated, said))


def _held_back(name: str, target: str, found: tuple[Branch, ...]) -> tuple[Branch, ...]:
    """In open maintenance they wait, perhaps for hours: whether the failure is still there is then asked first."""
    look = msgspec.structs.replace(_recheck(f"recheck-after-wait-{name}", target), if_deferred=True)
    return tuple(msgspec.structs.replace(branch, disruptive=True) for branch in (look, *found))


def _exhausted(target: str, failure_type: FailureType) -> tuple[Step, ...]:
    escalate = Step(id="escalate", do=local("escalate", failure="${run.failure}"), attempts=5, timeout_s=30.0)
    if failure_type in SPARES_USERS:
        return (escalate,)
    return (maintenance_step("maintenance-on", target, {"reason": f"automation could not repair {target}"}), escalate)

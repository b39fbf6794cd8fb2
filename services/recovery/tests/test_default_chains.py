"""Every failure type has the chain that the requirements name, with real hands in the right order."""

from __future__ import annotations

import msgspec
import pytest
from recovery.chains import SPARES_USERS, NoPlan, plan_for
from yaoki.config import (
    DEFAULT_CHAINS,
    Application,
    BalancedServer,
    CachedKeys,
    ChainLink,
    CommandSettings,
    Config,
    Instance,
    KubernetesSettings,
    LogSettings,
    Pooler,
    RecoverySection,
    Repairs,
    Scaling,
    Scope,
    Secret,
    TcpTarget,
    Webhook,
)
from yaoki.config.clusters import HostAgent
from yaoki.events.probe import FailureType
from yaoki.plans import Branch, Effect, Plan, StepKind
from yaoki.runs.plan_check import check_plan

from .builders import config

ORDERS = Application(
    targets=("orders-api",),
    instances=(
        Instance(
            agent="web1",
            unit="orders.service",
            behind=BalancedServer(agent="lb1", backend="app", server="web1", drain=5.0),
        ),
        Instance(kubernetes="prod", deployment="shop/orders"),
        Instance(agent="web1", command="repair"),
    ),
    workers=(Instance(agent="web1", container="worker-1"),),
    cache=CachedKeys(group="cache", match="orders:*"),
    pooler=Pooler(host="127.0.0.1"),
    scaling=Scaling(kubernetes="prod", deployment="shop/orders"),
    webhook="repair",
)
EXPECTED = {
    FailureType.DATABASE_CONNECTION: ["restart-database-connections", "switch-database", "enable-maintenance"],
    FailureType.REDIS_CONNECTION: ["restart-redis-connections", "switch-redis", "disable-caching"],
    FailureType.HIGH_MEMORY_USAGE: ["collect-garbage", "restart-workers", "scale-out", "clean-up-processes"],
    FailureType.HIGH_CPU_USAGE: ["clean-up-processes", "clean-up-logs"],
    FailureType.DISK_FULL: ["clean-up-logs", "clean-up-processes"],
    FailureType.ERROR_RATE: ["flush-cache", "restart-application"],
    FailureType.RESPONSE_TIME: ["reset-connection-pools", "warm-cache"],
    FailureType.EXTERNAL_SERVICE: ["open-circuit", "notify"],
    FailureType.REPLICATION_LAG: ["reattach-replica"],
    FailureType.STORAGE: ["clean-up-logs"],
    FailureType.HEARTBEAT_MISSED: ["restart-application"],
}


def everything(recovery: RecoverySection | None = None) -> Config:
    """An application with all that it can have, on a host with an agent."""
    section = recovery or RecoverySection()
    commands = {"repair": CommandSettings(run=("/bin/true",), effect="once")}
    repairs = Repairs(logs=(LogSettings(directory="/var/log/orders"),), commands=commands)
    kubernetes = {"prod": KubernetesSettings(url="https://k8s", deployments=("shop/orders",))}
    webhooks = {"repair": Webhook(url="https://hook", secret=Secret("env:HOOK", "x"))}
    base = config(
        recovery=msgspec.structs.replace(
            section, applications={"orders": ORDERS}, kubernetes=kubernetes, webhooks=webhooks
        )
    )
    targets = {
        "orders-api": TcpTarget(host="127.0.0.1", port=80),
        "web1-disk": TcpTarget(host="127.0.0.1", port=80, agent="web1"),
        "payments": TcpTarget(host="payments", port=443, scope=Scope.EXTERNAL),
    }
    return msgspec.structs.replace(
        base, targets={**base.targets, **targets}, agents={"web1": HostAgent(repairs=repairs), "lb1": HostAgent()}
    )


def planned(failure_type: FailureType, target: str, settings: Config | None = None) -> Plan:
    plan = plan_for(settings or everything(), target, failure_type, recheck=False)
    assert isinstance(plan, Plan), plan
    check_plan(plan, {"failure": {}})
    return plan


def branch(plan: Plan, name: str) -> Branch:
    return next(one for one in plan.branches if one.name == name)


def custom(*links: ChainLink) -> Config:
    return everything(RecoverySection(chains={FailureType.ERROR_RATE: links}))


def test_the_default_chains_are_those_of_the_requirements() -> None:
    """A stale backup and a network partition have none: people are called at once."""
    assert {kind: [link.action for link in chain] for kind, chain in DEFAULT_CHAINS.items()} == EXPECTED


@pytest.mark.parametrize(
    ("failure_type", "target"),
    [
        (FailureType.DATABASE_CONNECTION, "orders-db"),
        (FailureType.REDIS_CONNECTION, "orders-cache"),
        (FailureType.HIGH_MEMORY_USAGE, "orders-api"),
        (FailureType.HIGH_CPU_USAGE, "web1-disk"),
        (FailureType.DISK_FULL, "web1-disk"),
        (FailureType.ERROR_RATE, "orders-api"),
        (FailureType.RESPONSE_TIME, "orders-api"),
        (FailureType.EXTERNAL_SERVICE, "payments"),
        (FailureType.REPLICATION_LAG, "orders-db-replica"),
        (FailureType.STORAGE, "web1-disk"),
        (FailureType.HEARTBEAT_MISSED, "orders-api"),
    ],
)
def test_every_chain_is_a_plan_that_the_executor_accepts(failure_type: FailureType, target: str) -> None:
    """Its branches are its actions in order, and users see a maintenance page only where they suffer anyway."""
    plan = planned(failure_type, target)

    actions = [one.name for one in plan.branches if not one.name.startswith("recheck")]
    assert actions == EXPECTED[failure_type]
    assert ("maintenance-on" in [step.id for step in plan.on_exhausted]) is (failure_type not in SPARES_USERS)
    assert plan.on_exhausted[-1].id == "escalate"


@pytest.mark.parametrize("failure_type", [FailureType.BACKUP_STALE, FailureType.NETWORK_PARTITION])
def test_what_has_no_chain_calls_people_at_once(failure_type: FailureType) -> None:
    """And says so."""
    plan = plan_for(everything(), "orders-api", failure_type, recheck=True)

    assert isinstance(plan, NoPlan)
    assert f"no chain of actions is configured for {failure_type.value}" in plan.reason


def test_instances_are_restarted_one_after_the_other_and_taken_out_of_the_balancer_first() -> None:
    """Drained, looked at, restarted, ready again; a failed drain is undone, being ready again is tried hard."""
    steps = branch(planned(FailureType.ERROR_RATE, "orders-api"), "restart-application").steps

    assert [(step.id, step.do.action) for step in steps] == [
        ("drain-restart-application-1", "haproxy.set-server"),
        ("look-restart-application-1", "systemd.restart"),
        ("restart-application-1", "systemd.restart"),
        ("ready-restart-application-1", "haproxy.set-server"),
        ("look-restart-application-2", "kubernetes.restart"),
        ("restart-application-2", "kubernetes.restart"),
        ("look-restart-application-3", "command.run"),
        ("restart-application-3", "command.run"),
    ]
    drain, look, act, ready = steps[:4]
    assert (drain.do.worker, look.do.worker, steps[4].do.worker) == ("agent-lb1", "agent-web1", "recovery-hands")
    assert drain.undo == ready.do
    assert ready.required
    assert ready.attempts > 1
    assert look.do.params == {"unit": "orders.service", "dry_run": True}
    assert act.do.params == {"unit": "orders.service", "before": "${look-restart-application-1.before}"}
    assert steps[-1].effect is Effect.ONCE
    assert all(step.kind is StepKind.FORWARD for step in steps if step.do.params.get("before"))


def test_workers_are_their_own_and_pools_are_reset_at_both_ends() -> None:
    """PgBouncer is told first; that it is away keeps nobody from the application's own pools."""
    workers = branch(planned(FailureType.HIGH_MEMORY_USAGE, "orders-api"), "restart-workers").steps
    pools = branch(planned(FailureType.RESPONSE_TIME, "orders-api"), "reset-connection-pools").steps

    assert [step.do.params.get("container") for step in workers] == ["worker-1", "worker-1"]
    assert [(step.do.action, step.required) for step in pools] == [
        ("pgbouncer.reconnect", False),
        ("application-command", True),
    ]


def test_other_hands_are_reached_by_configured_chains() -> None:
    """A webhook that may be called only once is never called twice."""
    link = ChainLink(action="run-command", params={"agent": "web1", "command": "repair"}, attempts=3)
    plan = planned(FailureType.ERROR_RATE, "orders-api", custom(ChainLink(action="call-webhook"), link))

    call = branch(plan, "call-webhook").steps[-1]
    run = branch(plan, "run-command").steps[-1]
    assert (call.effect, call.do.params["failure"]) == (Effect.ONCE, "${run.failure}")
    assert (run.effect, run.attempts) == (Effect.ONCE, 1)


@pytest.mark.parametrize("action", ["restart-application", "flush-cache", "run-command"])
def test_a_dry_run_only_looks(action: str) -> None:
    """Whatever changes something is named and not ordered."""
    params = {"command": "repair", "agent": "web1"}
    plan = planned(FailureType.ERROR_RATE, "orders-api", custom(ChainLink(action=action, dry_run=True, params=params)))

    *looks, said = branch(plan, action).steps
    assert all(step.do.params["dry_run"] is True and not step.required for step in looks)
    assert said.do.action == "not-applicable"
    assert said.do.params["reason"].startswith("dry run; it would order ")


def test_a_relapse_goes_on_with_the_next_action() -> None:
    """What helped last time and did not last is not done again; behind the last one are only people."""
    settings = everything()

    def after(branch_name: str, kind: FailureType = FailureType.ERROR_RATE, target: str = "orders-api") -> list[str]:
        plan = plan_for(settings, target, kind, recheck=False, after=branch_name)
        return [one.name for one in plan.branches] if isinstance(plan, Plan) else [plan.reason]

    assert after("flush-cache") == ["restart-application"]
    assert "the last action of the chain" in after("restart-application")[0]
    assert after("nonsense") == ["flush-cache", "restart-application"]
    assert after("switch-database", FailureType.DATABASE_CONNECTION, "orders-db")[0] == "switch-database"


def test_a_person_may_run_one_action_of_a_chain() -> None:
    """What the chain does not have is named with what it has."""
    one = plan_for(everything(), "orders-api", FailureType.ERROR_RATE, recheck=False, only="restart-application")
    none = plan_for(everything(), "orders-api", FailureType.ERROR_RATE, recheck=False, only="restart")

    assert isinstance(one, Plan)
    assert [branch.name for branch in one.branches] == ["restart-application"]
    assert isinstance(none, NoPlan)
    assert "has no action 'restart'; it has flush-cache, restart-application" in none.reason


@pytest.mark.parametrize("action", sorted({link.action for chain in DEFAULT_CHAINS.values() for link in chain}))
def test_an_action_that_cannot_reach_anything_says_what_it_needs(action: str) -> None:
    """For a target that belongs to nothing."""
    plan = plan_for(custom(ChainLink(action=action)), "lonely-cache", FailureType.ERROR_RATE, recheck=False)

    if action in {"enable-maintenance", "open-circuit", "notify"}:
        assert isinstance(plan, Plan)
    else:
        assert isinstance(plan, NoPlan)
        assert f"{action}: it needs" in plan.reason

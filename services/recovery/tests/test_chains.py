"""From a failure to a plan."""

from __future__ import annotations

import pytest
from recovery.actions import ACTIONS, EXTENSION
from recovery.chains import NoPlan, plan_for
from yaoki.config import DEFAULT_CHAINS, ChainLink, RecoverySection
from yaoki.events.probe import FailureType
from yaoki.plans import Branch, Plan, StepKind
from yaoki.runs.plan_check import check_plan

from .builders import config

DATABASE = FailureType.DATABASE_CONNECTION
REDIS = FailureType.REDIS_CONNECTION


def planned(plan: Plan | NoPlan) -> Plan:
    assert isinstance(plan, Plan), plan
    return plan


def branch(plan: Plan, name: str) -> Branch:
    return next(one for one in plan.branches if one.name == name)


def step_ids(found: Branch) -> list[str]:
    return [step.id for step in found.steps]


def test_the_default_chain_of_a_database_escalates() -> None:
    plan = planned(plan_for(config(), "orders-db", DATABASE, recheck=True))

    assert [one.name for one in plan.branches] == [
        "recheck",
        "recheck-after-wait-restart-database-connections",
        "restart-database-connections",
        "recheck-after-wait-switch-database",
        "switch-database",
        "recheck-before-enable-maintenance",
        "enable-maintenance",
    ]
    assert [one.delay_s for one in plan.branches] == [0.0, 0.0, 0.0, 30.0, 0.0, 30.0, 0.0]
    assert [step.id for step in plan.on_exhausted] == ["maintenance-on", "escalate"]
    actions = [one for one in plan.branches if not one.name.startswith("recheck")]
    assert all(one.verify is not None for one in actions)


def test_planned_maintenance_holds_back_what_disrupts_and_nothing_else() -> None:
    """What is held back looks again after the wait, and only then."""
    plan = planned(plan_for(config(), "orders-db", DATABASE, recheck=True))

    assert [one.name for one in plan.branches if not one.disruptive] == [
        "recheck",
        "recheck-before-enable-maintenance",
        "enable-maintenance",
    ]
    assert [one.name for one in plan.branches if one.if_deferred] == [
        "recheck-after-wait-restart-database-connections",
        "recheck-after-wait-switch-database",
    ]


def test_what_a_person_orders_is_never_held_back() -> None:
    plan = planned(plan_for(config(), "orders-db", DATABASE, recheck=False))

    assert not any(one.disruptive or one.if_deferred for one in plan.branches)


def test_the_default_chain_of_redis_escalates() -> None:
    plan = planned(plan_for(config(), "orders-cache", REDIS, recheck=False))

    assert [one.name for one in plan.branches] == [
        "restart-redis-connections",
        "switch-redis",
        "recheck-before-disable-caching",
        "disable-caching",
    ]


def test_nothing_is_promoted_before_the_proof_and_nothing_is_undone_after() -> None:
    steps = branch(planned(plan_for(config(), "orders-db", DATABASE, recheck=False)), "switch-database").steps
    ids = [step.id for step in steps]

    assert ids[: ids.index("follow-pg-a")] == [
        "confirm-primary-lost",
        "revoke-lease",
        "cut-route",
        "stop-old-primary",
        "prove-fenced",
        "choose-candidate",
        "promote",
        "adjust-synchronous",
        "prove-writable",
        "checkpoint",
        "publish-route",
    ]
    by_id = {step.id: step for step in steps}
    assert by_id["prove-fenced"].required
    assert not by_id["stop-old-primary"].required
    assert by_id["promote"].kind is StepKind.PIVOT
    assert all(step.kind is StepKind.FORWARD for step in steps[ids.index("promote") + 1 :])
    assert [step.id for step in steps if step.undo] == ["revoke-lease"]


def test_the_backup_database_is_tried_last_and_only_behind_a_fence() -> None:
    plan = planned(plan_for(config(fallback_url="postgresql://backup/app"), "orders-db", DATABASE, recheck=False))

    assert step_ids(branch(plan, "switch-to-fallback")) == [
        "check-fallback",
        "confirm-primary-lost-for-fallback",
        "revoke-lease-for-fallback",
        "cut-route-for-fallback",
        "stop-old-primary-for-fallback",
        "prove-fenced-for-fallback",
        "route-to-fallback",
    ]
    proofs = {step.id: step.do.params for one in plan.branches for step in one.steps if "prove" in step.id}
    assert proofs["prove-fenced-for-fallback"]["by_agent_only"] is True
    assert proofs["prove-fenced"]["by_agent_only"] is False


@pytest.mark.parametrize(
    ("target", "failure_type"),
    [("orders-db", DATABASE), ("orders-cache", REDIS)],
)
@pytest.mark.parametrize("recheck", [True, False])
def test_every_plan_is_one_that_the_executor_accepts(target: str, failure_type: FailureType, *, recheck: bool) -> None:
    settings = config(members=("pg-a", "pg-b", "pg-c"), fallback_url="postgresql://backup/app")

    check_plan(planned(plan_for(settings, target, failure_type, recheck=recheck)), {"failure": {}})


def test_a_failure_type_without_a_chain_says_so() -> None:
    plan = plan_for(config(), "orders-db", FailureType.BACKUP_STALE, recheck=True)

    assert isinstance(plan, NoPlan)
    assert "no chain of actions is configured for backup_stale" in plan.reason


def test_a_target_that_no_action_can_reach_is_escalated_with_each_reason() -> None:
    plan = plan_for(config(), "lonely-cache", REDIS, recheck=True)

    assert isinstance(plan, NoPlan)
    assert "disable-caching: it needs a target of a group" in plan.reason


def test_a_lost_replica_moves_no_primary_and_closes_no_shop() -> None:
    plan = plan_for(config(), "orders-db-replica", DATABASE, recheck=True)

    assert isinstance(plan, NoPlan)
    assert "no action of the chain" in plan.reason
    assert "reads go to the primary" in plan.reason


def test_an_action_that_cannot_help_is_skipped_in_the_journal() -> None:
    plan = planned(plan_for(config(members=("pg-a",)), "orders-db", DATABASE, recheck=False))

    found = branch(plan, "switch-database")
    assert step_ids(found) == ["switch-database-not-applicable"]
    assert "neither a standby nor a fallback_url" in found.steps[0].do.params["reason"]


def test_a_configured_chain_replaces_the_default_with_its_own_pauses() -> None:
    section = RecoverySection(
        transition_delay=7.0,
        chains={
            DATABASE: (
                ChainLink(action="switch-database", delay=2.0),
                ChainLink(action="enable-maintenance"),
            )
        },
    )

    plan = planned(plan_for(config(recovery=section), "orders-db", DATABASE, recheck=False))

    assert [(one.name, one.delay_s) for one in plan.branches] == [
        ("switch-database", 0.0),
        ("recheck-before-enable-maintenance", 2.0),
        ("enable-maintenance", 0.0),
    ]


def test_an_action_twice_in_a_chain_is_refused() -> None:
    link = ChainLink(action="enable-maintenance")
    section = RecoverySection(chains={DATABASE: (link, link)})

    plan = plan_for(config(recovery=section), "orders-db", DATABASE, recheck=False)

    assert isinstance(plan, NoPlan)
    assert "names enable-maintenance twice" in plan.reason


def test_all_actions_of_the_default_chains_exist_and_are_known_to_the_configuration() -> None:
    named = {link.action for chain in DEFAULT_CHAINS.values() for link in chain}

    assert named <= {action.name for action in ACTIONS}
    assert set(EXTENSION.actions) == {action.name for action in ACTIONS}

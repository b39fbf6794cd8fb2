"""What a detected failure or a person's order starts. Pure.

One run for each target and failure type at a time: its identity follows from the incident, so that a redelivered
event finds its own run, and its resource is what it changes, so that a second run on the same servers has to wait.
"""

from __future__ import annotations

import difflib
import hashlib
from typing import TYPE_CHECKING

import msgspec
from yaoki.config.mistakes import one_of
from yaoki.config.targets import PostgresRole, PostgresTarget, RedisTarget
from yaoki.errors import ErrorCode, RejectedError
from yaoki.events.probe import FailureDetected, FailureType
from yaoki.runs.starting import StartRun
from yaoki.subjects import token

from recovery.chains import NoPlan, plan_for

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.commands.recovery import RunChain
    from yaoki.config.model import Config

    from recovery.clearances import Clearance

RUN_KIND = "recovery"
POLICY = "policy"


class Ignored(msgspec.Struct, frozen=True):
    """The failure starts nothing; the sentence says why."""

    reason: str


class CallPeople(msgspec.Struct, frozen=True):
    """There is nothing to try; the sentence says why."""

    run_id: str
    reason: str


def run_id_of(incident_id: str, failure_type: FailureType) -> str:
    """Identity of the run of an incident: the same for every delivery of its event."""
    return as_token(f"{incident_id}-{failure_type.value}".lower())


def as_token(text: str) -> str:
    """`text` if it can stand in a subject, else a digest of it."""
    try:
        return token(text)
    except RejectedError:
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def decide(
    config: Config, failure: FailureDetected, *, sequence: int, cleared: Clearance | None, after: str = ""
) -> StartRun | CallPeople | Ignored:
    """What to do about a failure.

    Args:
        config: Holds the target and its chain.
        failure: As detected.
        sequence: Its place in the event stream.
        cleared: The newest clear of this failure type of this target.
        after: See `plan_for`.
    """
    if cleared is not None and (cleared.sequence > sequence or cleared.incident_id == failure.incident_id):
        return Ignored(f"incident {failure.incident_id} was cleared already")
    if failure.target not in config.targets:
        return Ignored(f"target {failure.target!r} is not in this configuration; another installation probes it")
    run_id = run_id_of(failure.incident_id, failure.failure_type)
    plan = plan_for(config, failure.target, failure.failure_type, recheck=True, after=after)
    if isinstance(plan, NoPlan):
        return CallPeople(run_id, plan.reason)
    return StartRun(
        run_kind=RUN_KIND,
        run_id=run_id,
        resource=resource_of(config, failure.target),
        plan=plan,
        incident_id=failure.incident_id,
        started_by=POLICY,
        reason=f"{failure.failure_type.value} of {failure.target}, {failure.failures} failures in a row",
        facts={"target": failure.target, "failure": msgspec.to_builtins(failure)},
    )


def order_run(config: Config, order: RunChain, *, run_id: str, at: datetime) -> StartRun:
    """The run that a person orders, as if the failure had just been detected.

    Raises:
        RejectedError: The target is unknown or has no such failures, or there is no chain to run.
    """
    check_target(config, order.target)
    check_failure_type(config, order.target, order.failure_type)
    plan = plan_for(config, order.target, order.failure_type, recheck=False, only=order.action)
    if isinstance(plan, NoPlan):
        raise RejectedError(plan.reason)
    return StartRun(
        run_kind=RUN_KIND,
        run_id=run_id,
        resource=resource_of(config, order.target),
        plan=plan,
        started_by=order.by,
        reason=order.reason or f"ordered by {order.by}",
        facts={
            "target": order.target,
            "failure": msgspec.to_builtins(_ordered_failure(config, order, run_id, at)),
        },
    )


def check_target(config: Config, target: str) -> None:
    """Refuse a target that is not configured, and name those that look like it."""
    if target in config.targets:
        return
    close = difflib.get_close_matches(target, config.targets, n=3) or sorted(config.targets)[:10]
    raise RejectedError(
        f"target {target!r} is not configured; expected a name under targets in yaoki.yaml, "
        f"such as {', '.join(close) or '(there is none)'}",
        code=ErrorCode.NOT_FOUND,
    )


def check_failure_type(config: Config, target: str, failure_type: FailureType) -> None:
    """Refuse a failure that a target of this kind cannot have: its chain would repair something else, or nothing."""
    settings = config.targets[target]
    if settings.failures and failure_type not in settings.failures:
        raise RejectedError(
            f"target {target!r} is of kind {settings.kind} and has no failures of type {failure_type.value}; "
            f"expected {one_of(sorted(settings.failures))}"
        )


def resource_of(config: Config, target: str) -> str:
    """What a run on this target changes: its cluster, group or application, else the target itself."""
    settings = config.targets[target]
    if isinstance(settings, PostgresTarget) and settings.cluster:
        return settings.cluster
    if isinstance(settings, RedisTarget) and settings.group:
        return settings.group
    application = next((name for name, one in config.recovery.applications.items() if target in one.targets), None)
    return target if application is None else f"app-{application}"


def primary_target(config: Config, cluster: str) -> str:
    """The target that probes the primary of a PostgreSQL cluster; empty when there is none."""
    for name, target in sorted(config.targets.items()):
        if isinstance(target, PostgresTarget) and target.cluster == cluster and target.role is PostgresRole.PRIMARY:
            return name
    return ""


def _ordered_failure(config: Config, order: RunChain, run_id: str, at: datetime) -> FailureDetected:
    return FailureDetected(
        target=order.target,
        target_kind=config.targets[order.target].kind,
        region=config.region,
        vantage="manual",
        failure_type=order.failure_type,
        incident_id=run_id,
        first_failed_at=at,
        failures=0,
    )

"""What people are told when automation is at its end. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from yaoki.events.recovery import EscalatedToHuman

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from yaoki.commands.recovery import RunView
    from yaoki.config.clusters import RedisGroup
    from yaoki.config.model import Config
    from yaoki.events.probe import FailureDetected
    from yaoki.subjects import Subjects

_MAINTENANCE_OFF = json.dumps({"on": False, "by": "<you>", "since": "<now, RFC 3339>"})


def escalation_id(run_id: str) -> str:
    """Identity of the event, the same for every repeat, so that people are called once."""
    return f"escalated.{run_id}"


def escalate_run(
    failure: FailureDetected, run: RunView, *, maintenance: bool, next_steps: tuple[str, ...], at: datetime
) -> EscalatedToHuman:
    """A chain ran out."""
    tried = sorted({step.branch for step in run.steps})
    return EscalatedToHuman(
        target=failure.target,
        failure_type=failure.failure_type,
        incident_id=failure.incident_id,
        run_id=run.run_id,
        failure=failure,
        attempts=run.steps,
        reason=f"no action of the chain {run.plan!r} repaired {failure.target!r} (tried: {', '.join(tried) or 'none'})",
        next_steps=next_steps,
        maintenance=maintenance,
        failing_since=failure.first_failed_at,
        escalated_at=at,
    )


def escalate_without_chain(
    failure: FailureDetected, *, reason: str, next_steps: tuple[str, ...], at: datetime
) -> EscalatedToHuman:
    """There is nothing that automation could do."""
    return EscalatedToHuman(
        target=failure.target,
        failure_type=failure.failure_type,
        incident_id=failure.incident_id,
        failure=failure,
        reason=reason,
        next_steps=next_steps,
        failing_since=failure.first_failed_at,
        escalated_at=at,
    )


def next_steps(config: Config, subjects: Subjects, failure: FailureDetected, run_id: str = "") -> tuple[str, ...]:
    """What is safe to do now: looking first, then acting; each a sentence with a line to copy."""
    check = _request(subjects.api("probe", "check"), target=failure.target)
    again = _request(
        subjects.api("recovery", "run"),
        target=failure.target,
        failure_type=failure.failure_type.value,
        by="<you>",
        reason="<why>",
    )
    lines = [f"Look at the target now: {check}"]
    lines += _looking_at_servers(config, subjects, failure.target)
    lines += _looking_at_instances(config, failure.target)
    if run_id:
        lines.append(f"See what was tried: {_request(subjects.api('recovery', 'show'), run_id=run_id)}")
    before = _request(subjects.api("recovery", "history"), target=failure.target)
    lines.append(f"See what happened to it before: {before}")
    pause = _request(subjects.api("recovery", "pause"), target=failure.target, by="<you>", reason="<why>")
    lines.append(f"Keep automation off it while you work: {pause} (end it with the same and recovery.resume)")
    lines.append(f"After repairing the cause, let automation try again: {again}")
    if run_id:
        lines.append(
            "Maintenance mode ends by itself when the failure clears; to end it by hand: "
            f"nats kv put flags maintenance.all '{_MAINTENANCE_OFF}'"
        )
    return tuple(lines)


def _looking_at_servers(config: Config, subjects: Subjects, target: str) -> Sequence[str]:
    settings = config.targets.get(target)
    cluster = getattr(settings, "cluster", None)
    group = getattr(settings, "group", None)
    members = (
        config.postgres_clusters[cluster].members if cluster in config.postgres_clusters
        else config.redis_groups[group].members if group in config.redis_groups
        else {}
    )  # fmt: skip
    lines = [
        f"Ask the agent of {name}: nats req {subjects.api(f'agent-{member.agent}', 'status')} '{{}}'"
        for name, member in members.items()
    ]
    if group in config.redis_groups:
        lines += _looking_at_sentinels(config.redis_groups[group])
    if cluster in config.postgres_clusters:
        lines.append(
            f"See who holds the lease (never start a server that is not the holder as primary): "
            f"nats kv get clusters {cluster} --raw"
        )
    return lines


def _looking_at_sentinels(group: RedisGroup) -> list[str]:
    if group.sentinel is None:
        return []
    return [
        f"Ask Sentinel {one} who the master is: "
        f"redis-cli -h {one.host} -p {one.port} sentinel master {group.sentinel.master}"
        for one in group.sentinel.addresses
    ]


def _looking_at_instances(config: Config, target: str) -> Sequence[str]:
    """Only looks, for the hosts where the application of the target runs."""
    applications = config.recovery.applications.values()
    instances = [one for application in applications if target in application.targets for one in application.instances]
    lines = []
    for one in instances:
        if one.unit is not None:
            lines.append(
                f"On the host of agent {one.agent}: systemctl status {one.unit}; journalctl -u {one.unit} -n 100"
            )
        elif one.container is not None:
            lines.append(f"On the host of agent {one.agent}: docker logs --tail 100 {one.container}")
        elif one.deployment is not None:
            namespace, name = one.deployment.split("/", 1)
            lines.append(f"In {one.kubernetes}: kubectl -n {namespace} describe deployment {name}")
    return lines


def _request(subject: str, **body: str) -> str:
    return f"nats req {subject} '{json.dumps(body)}'"

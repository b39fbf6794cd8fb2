"""Checks of applications against the agents, deployments and webhooks that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config.findings import Finding
from yaoki.config.mistakes import did_you_mean, one_of, shown
from yaoki.config.repairs import Repairs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from yaoki.config.applications import Application, BalancedServer, Instance
    from yaoki.config.findings import Context

_WAYS = ("unit", "process", "container", "command", "deployment")


def check_applications(context: Context) -> Iterator[Finding]:
    """What applications name has to be allowed where it is."""
    owners: dict[str, str] = {}
    for name, application in context.config.recovery.applications.items():
        path = f"recovery.applications.{name}"
        for index, target in enumerate(application.targets):
            other = owners.setdefault(target, name)
            if other != name:
                yield Finding(
                    path=f"{path}.targets[{index}]",
                    found=shown(target),
                    expected=f"a target of one application only; it is {other}'s",
                )
        for field in ("instances", "workers"):
            for index, instance in enumerate(getattr(application, field)):
                yield from _instance(context, f"{path}.{field}[{index}]", instance)
        yield from _scaling(context, path, application)
        yield from context.unknown(f"{path}.webhook", application.webhook, "recovery.webhooks")


def _instance(context: Context, path: str, instance: Instance) -> Iterator[Finding]:
    ways = [way for way in _WAYS if getattr(instance, way) is not None]
    if len(ways) != 1:
        yield Finding(
            path=path,
            found=" and ".join(ways) or "none of them",
            expected=f"exactly one of {', '.join(_WAYS)}",
            also=tuple(f"{path}.{way}" for way in _WAYS),
        )
        return
    if instance.behind is not None:
        yield from _behind(context, f"{path}.behind", instance.behind)
    if ways == ["deployment"]:
        yield from _deployment(context, path, instance.kubernetes, str(instance.deployment))
        return
    if instance.agent is None:
        expected = f"the agent on the host of the {ways[0]}, a name out of agents"
        yield Finding(path=f"{path}.agent", found="nothing", expected=expected)
        return
    agent = context.config.agents.get(instance.agent)
    if agent is not None:
        known, where = _known(agent.repairs or Repairs(), ways[0])
        allowed = f"agents.{instance.agent}.repairs.{where}"
        yield from _allowed(f"{path}.{ways[0]}", getattr(instance, ways[0]), known, allowed)


def _known(repairs: Repairs, way: str) -> tuple[Collection[str], str]:
    match way:
        case "unit":
            return repairs.units, "units"
        case "process":
            return repairs.processes, "processes"
        case "container":
            return (repairs.docker.containers if repairs.docker else ()), "docker.containers"
        case _:
            return repairs.commands, "commands"


def _behind(context: Context, path: str, behind: BalancedServer) -> Iterator[Finding]:
    agent = context.config.agents.get(behind.agent)
    if agent is not None:
        haproxy = agent.repairs.haproxy if agent.repairs else None
        known = haproxy.backends if haproxy else ()
        allowed = f"agents.{behind.agent}.repairs.haproxy.backends"
        yield from _allowed(f"{path}.backend", behind.backend, known, allowed)


def _scaling(context: Context, path: str, application: Application) -> Iterator[Finding]:
    scaling = application.scaling
    if scaling is None:
        return
    here = f"{path}.scaling"
    yield from _deployment(context, here, scaling.kubernetes, scaling.deployment)
    fewest, most = scaling.limits
    if fewest > most:
        yield Finding(
            path=f"{here}.most" if scaling.most else f"{here}.fewest",
            found=str(most if scaling.most else fewest),
            expected=f"fewest at most as large as most; they are {fewest} and {most}",
            also=(f"{here}.fewest", f"{here}.most", f"{here}.tier"),
        )


def _deployment(context: Context, path: str, kubernetes: str | None, deployment: str) -> Iterator[Finding]:
    if kubernetes is None:
        yield Finding(path=f"{path}.kubernetes", found="nothing", expected="a name out of recovery.kubernetes")
        return
    yield from context.unknown(f"{path}.kubernetes", kubernetes, "recovery.kubernetes")
    server = context.config.recovery.kubernetes.get(kubernetes)
    if server is not None:
        where = f"recovery.kubernetes.{kubernetes}.deployments"
        yield from _allowed(f"{path}.deployment", deployment, server.deployments, where)


def _allowed(path: str, name: str, known: Collection[str], where: str) -> Iterator[Finding]:
    if name not in known:
        yield Finding(
            path=path,
            found=shown(name),
            expected=f"a name out of {where}: {one_of(sorted(known))}",
            hint=did_you_mean(name, sorted(known)),
        )

"""What the types cannot say: references between sections, and numbers that only make sense together.

Each check is a generator over the whole configuration and yields findings; a finding on a path that is
already known to be wrong is dropped, so that one mistake is reported once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config.backup_checks import check_backup
from yaoki.config.cluster_checks import check_agents, check_clusters
from yaoki.config.findings import Context, Finding
from yaoki.config.forms import format_duration
from yaoki.config.mistakes import did_you_mean, one_of, shown
from yaoki.config.probe_checks import check_dependencies, check_flapping, check_vantages
from yaoki.config.repair_checks import check_applications
from yaoki.config.slo_checks import check_maintenance, check_services
from yaoki.config.targets import PostgresRole, PostgresTarget, RedisTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def check(context: Context) -> Iterator[Finding]:
    """Everything that is wrong beyond single fields."""
    for path, name, mapping in context.references:
        yield from context.unknown(path, name, mapping)
    for one in _CHECKS:
        yield from one(context)


def _nats(context: Context) -> Iterator[Finding]:
    nats = context.config.nats
    ways = [name for name in ("user", "nkey", "credentials") if getattr(nats, name) is not None]
    if len(ways) > 1:
        yield Finding(
            path="nats",
            found=" and ".join(ways),
            expected="one way to log in: user with password, nkey or credentials",
        )
    if (nats.user is None) != (nats.password is None):
        missing, present = ("password", "user") if nats.password is None else ("user", "password")
        yield Finding(
            path=f"nats.{missing}",
            found="nothing",
            expected=f"nats.{missing} beside nats.{present}",
            also=(f"nats.{present}",),
        )
    if nats.tls is not None and (nats.tls.certificate is None) != (nats.tls.key is None):
        missing = "key" if nats.tls.key is None else "certificate"
        yield Finding(path=f"nats.tls.{missing}", found="nothing", expected="certificate and key together, or neither")


def _timing(context: Context) -> Iterator[Finding]:
    defaults = context.config.probe.defaults
    places = [("probe.defaults", defaults)]
    places += [(f"targets.{name}", context.config.timing(name)) for name in context.config.targets]
    for path, timing in places:
        if path != "probe.defaults" and timing == defaults:
            continue
        if timing.suspect_interval > timing.interval:
            yield Finding(
                path=f"{path}.suspect_interval",
                found=format_duration(timing.suspect_interval),
                expected=f"at most the interval, {format_duration(timing.interval)}",
                also=(f"{path}.interval", "probe.defaults.interval", "probe.defaults.suspect_interval"),
                hint="a suspect is probed faster, not slower",
            )


def _targets(context: Context) -> Iterator[Finding]:
    for name, target in context.config.targets.items():
        path = f"targets.{name}"
        for index, other in enumerate(target.depends_on):
            here = f"{path}.depends_on[{index}]"
            if other == name:
                yield Finding(path=here, found=shown(other), expected="another target than itself")
        if target.agent is not None and target.vantages:
            yield Finding(
                path=f"{path}.vantages",
                found=one_of(target.vantages),
                expected="nothing beside agent",
                hint=f"agent {target.agent} looks at it from its own host alone",
            )
        yield from target.mistakes(path, context)
        if isinstance(target, PostgresTarget):
            yield from _postgres_target(context, path, target)
        elif isinstance(target, RedisTarget):
            yield from _place(path, "group", target.group, target.host)


def _postgres_target(context: Context, path: str, target: PostgresTarget) -> Iterator[Finding]:
    yield from _place(path, "cluster", target.cluster, target.host)
    if target.member is not None and target.cluster in context.names.get("postgres_clusters", ()):
        yield from context.unknown(f"{path}.member", target.member, f"postgres_clusters.{target.cluster}.members")
    if target.member is not None and target.role is PostgresRole.PRIMARY:
        yield Finding(
            path=f"{path}.member",
            found=shown(target.member),
            expected="no member for role primary",
            hint="the primary is whoever the published route names",
            also=(f"{path}.role",),
        )
    if target.role is PostgresRole.REPLICA and target.cluster is not None and target.member is None:
        yield Finding(
            path=f"{path}.member",
            found="nothing",
            expected=f"which member of {target.cluster} this replica is",
            also=(f"{path}.cluster", f"{path}.role"),
        )
    if target.write_check and target.role is PostgresRole.REPLICA:
        yield Finding(
            path=f"{path}.write_check",
            found="true",
            expected="false for role replica",
            hint="a standby takes no writes",
            also=(f"{path}.role",),
        )


def _place(path: str, owner: str, owner_name: str | None, host: str | None) -> Iterator[Finding]:
    """A server is named by its cluster or group, or by host; exactly one of them."""
    if (owner_name is None) == (host is None):
        both = owner_name is not None
        yield Finding(
            path=path,
            found=f"both {owner} and host" if both else f"neither {owner} nor host",
            expected=f"either {owner} or host",
            also=(f"{path}.{owner}", f"{path}.host"),
        )


def _chains(context: Context) -> Iterator[Finding]:
    if context.actions is None:
        return
    known = sorted(context.actions)
    for failure, chain in context.config.recovery.chains.items():
        for index, link in enumerate(chain):
            if link.action not in context.actions:
                here = f"recovery.chains.{failure}[{index}]"
                yield Finding(
                    path=f"{here}.action" if f"{here}.action" in context.written else here,
                    found=shown(link.action),
                    expected=f"an action: {one_of(known)}",
                    hint=did_you_mean(link.action, known),
                )


_CHECKS: tuple[Callable[[Context], Iterator[Finding]], ...] = (
    _nats,
    _timing,
    _targets,
    check_vantages,
    check_dependencies,
    check_flapping,
    check_clusters,
    check_agents,
    _chains,
    check_applications,
    check_backup,
    check_services,
    check_maintenance,
)

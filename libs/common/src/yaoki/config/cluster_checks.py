"""Checks of clusters, groups and their agents against one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config.clusters import HostAgent, PostgresAgent, PostgresCluster, RedisAgent, RedisGroup, ServerAgent
from yaoki.config.findings import Finding
from yaoki.config.forms import format_duration
from yaoki.config.mistakes import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki.config.findings import Context


def check_clusters(context: Context) -> Iterator[Finding]:
    """Leases, synchronous standbys and members."""
    for name, cluster in context.config.postgres_clusters.items():
        path = f"postgres_clusters.{name}"
        yield from _lease(path, cluster)
        yield from _synchronous(context, path, cluster)
        yield from _members(context, path, cluster, name)
    for name, group in context.config.redis_groups.items():
        path = f"redis_groups.{name}"
        yield from _decided(context, path, group)
        yield from _members(context, path, group, name)


def _decided(context: Context, path: str, group: RedisGroup) -> Iterator[Finding]:
    """Exactly one decides who the master is: two of them would undo each other's failovers."""
    members = bool(context.names.get(f"{path}.members"))
    if group.sentinel is None and f"{path}.sentinel" not in context.written and not members:
        yield Finding(
            path=f"{path}.members",
            found="nothing",
            expected="at least one member with its agent, or sentinel with its addresses",
        )
    elif group.sentinel is not None and members:
        yield Finding(
            path=f"{path}.members",
            found="members beside sentinel",
            expected="one of the two",
            hint="Sentinel finds the servers by itself, and agents would undo what it decides",
        )


def _lease(path: str, cluster: PostgresCluster) -> Iterator[Finding]:
    ttl, margin = cluster.lease.ttl, cluster.lease.margin
    also = (f"{path}.lease.ttl",)
    if margin >= ttl:
        yield Finding(
            path=f"{path}.lease.margin",
            found=format_duration(margin),
            expected=f"less than the ttl, {format_duration(ttl)}",
            also=also,
        )
    elif margin > ttl / 3 + 1e-9:
        yield Finding(
            path=f"{path}.lease.margin",
            found=format_duration(margin),
            expected=f"at most a third of the ttl, {format_duration(ttl / 3)}",
            hint="it is renewed every third of the ttl, and one lost renewal must not stop the primary",
            also=also,
        )


def _synchronous(context: Context, path: str, cluster: PostgresCluster) -> Iterator[Finding]:
    standbys = len(context.names.get(f"{path}.members", ())) - 1
    if cluster.synchronous > standbys:
        yield Finding(
            path=f"{path}.synchronous",
            found=str(cluster.synchronous),
            expected=f"at most {standbys}, the number of members less the primary",
            hint="with more, every commit waits for ever",
        )
    promotable = sum(member.promotable for member in cluster.members.values())
    if promotable == 0:
        yield Finding(
            path=f"{path}.members",
            found="no promotable member",
            expected="at least one with promotable: true",
        )
    guards = [
        agent
        for agent in context.config.agents.values()
        if isinstance(agent, PostgresAgent) and f"postgres_clusters.{agent.cluster}" == path
    ]
    if cluster.failsafe_secret is None and any(agent.failsafe for agent in guards):
        yield Finding(
            path=f"{path}.failsafe_secret",
            found="nothing",
            expected="a reference to a secret: env:NAME or file:/absolute/path",
            hint="its agents have failsafe addresses and must recognise one another",
        )


def _members(context: Context, path: str, owner: PostgresCluster | RedisGroup, name: str) -> Iterator[Finding]:
    places: dict[tuple[str, int], str] = {}
    for member_name, member in owner.members.items():
        here = f"{path}.members.{member_name}"
        other = places.setdefault((member.host, member.port), member_name)
        if other != member_name:
            yield Finding(
                path=f"{here}.port",
                found=f"{member.host}:{member.port}",
                expected=f"an address of its own; {other} has this one",
                also=(f"{here}.host",),
            )
        agent = context.config.agents.get(member.agent)
        if agent is not None and _guarded(agent) != (type(owner), name, member_name):
            yield Finding(
                path=f"{here}.agent",
                found=shown(member.agent),
                expected="the agent that guards this member",
                hint=f"agents.{member.agent} guards {_guarded_words(agent)}",
                also=tuple(f"agents.{member.agent}.{key}" for key in ("member", "cluster", "group")),
            )


def _guarded(agent: PostgresAgent | RedisAgent | HostAgent) -> tuple[type, str, str] | None:
    match agent:
        case PostgresAgent():
            return PostgresCluster, agent.cluster, agent.member
        case RedisAgent():
            return RedisGroup, agent.group, agent.member
        case HostAgent():
            return None


def _guarded_words(agent: PostgresAgent | RedisAgent | HostAgent) -> str:
    guarded = _guarded(agent)
    return "no server" if guarded is None else f"{agent.__struct_config__.tag} {guarded[1]}, member {guarded[2]}"


def check_agents(context: Context) -> Iterator[Finding]:
    """What agents guard, and where they keep their state."""
    for name, agent in context.config.agents.items():
        path = f"agents.{name}"
        guarded = _guarded(agent)
        if guarded is None or not isinstance(agent, ServerAgent):
            continue
        kind, owner, member = guarded
        mapping = "postgres_clusters" if kind is PostgresCluster else "redis_groups"
        if owner in context.names.get(mapping, ()):
            yield from context.unknown(f"{path}.member", member, f"{mapping}.{owner}.members")
        if f"{agent.state_directory.rstrip('/')}/".startswith(f"{agent.data_directory.rstrip('/')}/"):
            yield Finding(
                path=f"{path}.state_directory",
                found=shown(agent.state_directory),
                expected="a directory outside data_directory",
                hint="a re-clone empties the data directory",
                also=(f"{path}.data_directory",),
            )

"""What an action of a chain is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from yaoki.config.targets import PostgresRole, PostgresTarget, RedisTarget, Target

from recovery.failover import local

if TYPE_CHECKING:
    from yaoki.config.chains import ChainLink
    from yaoki.config.model import Config
    from yaoki.plans import Branch, Call


class ActionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an action may look at when it plans.

    Attributes:
        target: Name of the failed target.
        link: The chain's entry for this action.
    """

    target: str
    config: Config
    link: ChainLink

    @property
    def settings(self) -> Target:
        """The target's configuration."""
        return self.config.targets[self.target]

    @property
    def cluster(self) -> str:
        """The PostgreSQL cluster whose *primary* the target is; empty for anything else, replicas included."""
        settings = self.settings
        if isinstance(settings, PostgresTarget) and settings.role is PostgresRole.PRIMARY:
            return settings.cluster or ""
        return ""

    @property
    def group(self) -> str:
        """The Redis group that the target belongs to; empty for anything else."""
        settings = self.settings
        return (settings.group or "") if isinstance(settings, RedisTarget) else ""

    @property
    def application(self) -> str:
        """The application under `recovery.applications` that the target belongs to; empty when there is none."""
        applications = self.config.recovery.applications
        return next((name for name, one in applications.items() if self.target in one.targets), "")

    @property
    def repaired_host(self) -> str:
        """The agent that probes the target on its host, if it may repair there; else empty."""
        agent = self.config.agents.get(self.settings.agent or "")
        return (self.settings.agent or "") if agent is not None and agent.repairs is not None else ""

    def check(self) -> Call:
        """A fresh probe of the target, as a branch's proof."""
        return local("check-target", target=self.target)

    def param(self, name: str, default: Any) -> Any:
        """A parameter of the chain's entry."""
        return self.link.params.get(name, default)


class NotApplicable(msgspec.Struct, frozen=True):
    """The action can do nothing for this target; the sentence says why."""

    reason: str


class ActionKind(Protocol):
    """One action: its name and the plan that carries it out. One file here, one line in `ACTIONS`.

    Attributes:
        name: As chains spell it.
        impairs_users: It repairs nothing and costs users something, so the target is looked at once more before.
        disruptive: It ends, restarts or moves something that people may be working on: it waits while planned
            maintenance of the target is open.
    """

    name: str
    impairs_users: bool
    disruptive: bool

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """The ways to try, in order; usually one. Pure."""
        ...

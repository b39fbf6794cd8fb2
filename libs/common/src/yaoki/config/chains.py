"""Chains of recovery actions, and those that are used where the configuration names none."""

from typing import Annotated, Any, ClassVar

import msgspec

from yaoki.config.base import Section
from yaoki.config.forms import Duration, Name, PositiveDuration
from yaoki.events.probe import FailureType


class ChainLink(Section, frozen=True, kw_only=True):
    """One action of a recovery chain; a bare name stands for `{action: name}`.

    Attributes:
        action: Name of the action.
        params: Its parameters; each action documents its own.
        timeout: For one attempt; the action's own when left out.
        delay: Pause after this action before the next; `recovery.transition_delay` when left out.
        attempts: How often the action is tried before the chain goes on.
        dry_run: Only say in the run's journal what would be done.
    """

    shorthand: ClassVar[str] = "action"

    action: Name
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    timeout: PositiveDuration | None = None
    delay: Duration | None = None
    attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    dry_run: bool = False


Chain = Annotated[tuple[ChainLink, ...], msgspec.Meta(min_length=1)]


def _chain(*actions: str) -> tuple[ChainLink, ...]:
    return tuple(ChainLink(action=action) for action in actions)


_CLEAN_UP = _chain("clean-up-processes", "clean-up-logs")

DEFAULT_CHAINS: dict[FailureType, tuple[ChainLink, ...]] = {
    FailureType.DATABASE_CONNECTION: _chain("restart-database-connections", "switch-database", "enable-maintenance"),
    FailureType.REDIS_CONNECTION: _chain("restart-redis-connections", "switch-redis", "disable-caching"),
    FailureType.HIGH_MEMORY_USAGE: _chain("collect-garbage", "restart-workers", "scale-out", "clean-up-processes"),
    FailureType.HIGH_CPU_USAGE: _CLEAN_UP,
    FailureType.DISK_FULL: tuple(reversed(_CLEAN_UP)),  # old logs harm nobody; whoever fills the disk may be at work
    FailureType.ERROR_RATE: _chain("flush-cache", "restart-application"),
    FailureType.RESPONSE_TIME: _chain("reset-connection-pools", "warm-cache"),
    FailureType.EXTERNAL_SERVICE: (ChainLink(action="open-circuit", delay=0.0), ChainLink(action="notify")),
    FailureType.REPLICATION_LAG: _chain("reattach-replica"),
    FailureType.STORAGE: _chain("clean-up-logs"),
    FailureType.HEARTBEAT_MISSED: _chain("restart-application"),
}
"""A stale backup and a network partition have none: nothing that is safe repairs them, so people are called at once."""

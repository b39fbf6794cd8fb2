"""What recovery needs of the world, as contracts. Adapters are in `adapters/`, fakes in the tests."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING, Protocol

import msgspec
from yaoki.plans import JsonObject  # noqa: TC002 - msgspec reads the annotation at run time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.commands.agent import AgentStatus
    from yaoki.commands.recovery import RunView
    from yaoki.config.applications import LoadQueries, Scaling
    from yaoki.config.clusters import PostgresCluster, RedisGroup, Sentinels
    from yaoki.config.forms import Address
    from yaoki.epoch import Epoch
    from yaoki.events.probe import ProbeResult
    from yaoki.flags import Endpoint, Route, Switch

    from recovery.scaling import Load
    from recovery.sentinel import SentinelView


class Agents(Protocol):
    """The agents on the servers' hosts."""

    async def status(self, agent: str) -> AgentStatus | None:
        """What the agent (worker name, e.g. `agent-pg-a`) knows now; None when it does not answer."""
        ...


class Prober(Protocol):
    """The health probe."""

    async def check(self, target: str, within_s: float) -> ProbeResult:
        """Probe now, on a fresh connection. A prober that does not answer is an `unknown` result."""
        ...


class Flags(Protocol):
    """The flags that applications obey: what recovery uses of `yaoki.flag_store.FlagStore`."""

    async def switch(self, key: str) -> Switch | None:
        """The switch's present value; None when it was never set."""
        ...

    async def set_switch(self, key: str, *, on: bool, by: str, reason: str = "", retry_after_s: int = 30) -> Switch:
        """Turn a switch on or off."""
        ...

    async def route(self, cluster: str) -> Route | None:
        """The published route; None before the first publication."""
        ...

    async def publish_route(self, route: Route, *, by: str = "") -> Route:
        """Compare-and-set: a route of a lower epoch than the published one is refused (StaleEpochError)."""
        ...

    async def cut_route(self, cluster: str, *, epoch: Epoch, by: str, reason: str) -> Route:
        """Tell clients to send nothing; refused like `publish_route`."""
        ...


class Terminated(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions that were ended, by what they were doing."""

    idle_in_transaction: int = 0
    waiting: int = 0
    running: int = 0


class DatabaseSessions(Protocol):
    """Sessions of a PostgreSQL server."""

    async def terminate_stuck(
        self, cluster: PostgresCluster, endpoint: Endpoint, *, idle_s: float, waiting_s: float, running_s: float
    ) -> Terminated:
        """End application sessions that have been stuck for longer than the limits.

        Raises:
            TransientError: The server accepts no connection.
        """
        ...

    async def check_fallback(self, cluster: PostgresCluster) -> Endpoint:
        """Log in to the cluster's static backup database and run a query; where it listens.

        Raises:
            TransientError: It does not answer.
        """
        ...


class RedisClients(Protocol):
    """Clients of a Redis server."""

    async def kill_normal(self, group: RedisGroup, endpoint: Endpoint) -> int:
        """End all ordinary client connections (not replicas, not subscribers); how many there were.

        Raises:
            TransientError: The server accepts no connection.
        """
        ...

    async def delete_matching(self, group: RedisGroup, endpoint: Endpoint, match: str) -> int:
        """Delete all keys that match the pattern, without blocking the server; how many there were.

        Raises:
            TransientError: The server does not answer; a part of them may be gone.
        """
        ...

    async def write_back(self, group: RedisGroup, endpoint: Endpoint) -> None:
        """Write a key of our own, read it back and delete it.

        Raises:
            TransientError: The server does not answer, or it takes no key.
        """
        ...


class SentinelProcesses(Protocol):
    """The Sentinels of a Redis group. Nothing is promoted but by them."""

    async def views(self, settings: Sentinels) -> list[SentinelView]:
        """What each of those says that answers and knows the group; empty when none does."""
        ...

    async def order_failover(self, settings: Sentinels, through: Address) -> None:
        """Have one of them replace the master, if there are enough of them; returns before it is replaced.

        Raises:
            NoQuorumError: They are too few; nothing was ordered.
            NoGoodReplicaError: There is nobody to promote.
            FailoverRunsError: A failover runs already.
            TransientError: It does not answer; the order may have been taken.
        """
        ...


class LoadReadings(Protocol):
    """Where the load of an application is measured."""

    async def read(self, queries: LoadQueries) -> Load:
        """The load now; what has no number now is unknown.

        Raises:
            TransientError: The server does not answer.
            RejectedError: A query is wrong.
        """
        ...


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment is meant to be.

    Attributes:
        instances: How many there should be.
        changed: When that was changed last by us, UTC.
    """

    instances: int
    changed: datetime | None = None


class Capacities(Protocol):
    """Deployments and their number of instances."""

    async def read(self, scaling: Scaling) -> Capacity | None:
        """As it stands; None while it is in motion, or where somebody else scales it.

        Raises:
            TransientError: The server does not answer.
        """
        ...


class CommandAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """What the instances of an application said to a command, by instance.

    Attributes:
        done: What those said that carried it out.
        failed: Why others did not.
        silent: Instances that are connected and did not answer in time.
    """

    done: dict[str, JsonObject] = {}
    failed: dict[str, str] = {}
    silent: tuple[str, ...] = ()


class Applications(Protocol):
    """Applications on the SDK."""

    async def command(
        self, application: str, command: str, *, command_id: str, by: str, within_s: float
    ) -> CommandAnswers:
        """Have every instance carry out `collect-garbage`, `reset-pools` or `warm-cache`; once for each command id.

        Raises:
            TransientError: No instance is connected, or NATS is away.
            RejectedError: There is no such command.
        """
        ...


class Clearances(Protocol):
    """Which failures have been cleared, remembered across restarts."""

    async def is_cleared(self, target: str, incident_id: str) -> bool:
        """Whether the incident is over."""
        ...


class RunViews(Protocol):
    """Runs as they stand."""

    async def view(self, run_id: str) -> RunView | None:
        """The run; None when there is none."""
        ...


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """That a run began.

    Attributes:
        target: What failed.
        at: When, UTC, by the clock of NATS.
        sequence: Its place in the event stream.
    """

    run_id: str
    target: str
    at: datetime
    sequence: int


class RunStarts(Protocol):
    """Beginnings of runs, as they stand in the event stream."""

    def read(self, *, after: int, since: datetime | None) -> AsyncIterator[Beginning]:
        """Those behind a sequence, or from a time on where `after` is 0, in their order; ends with the newest.

        Raises:
            TransientError: They cannot be read now.
        """
        ...

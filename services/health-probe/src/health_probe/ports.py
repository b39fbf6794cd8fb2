"""What the health probe needs from the outside, as contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from yaoki.events.probe import ProbeResult
    from yaoki.flags import Endpoint

    from health_probe.attempt import Deadline, Finding, Phases


class Probe(Protocol):
    """Answers whether one target is well, by real work on a fresh connection.

    A probe keeps nothing between runs, so any number of runs may overlap.
    """

    async def run(self, deadline: Deadline) -> ProbeResult:
        """Return by `deadline` whatever the target does: hang, drip bytes, answer without end.

        Never raises for what the target does. A failure of the prober itself is a result with status
        `unknown` and class `local`.
        """
        ...


class Check(Protocol):
    """What a probe kind has to write; `MeasuredProbe` makes a `Probe` of it.

    Every await stands inside one of `phases`. Connections are opened and closed inside one call.
    """

    async def check(self, phases: Phases) -> Finding:
        """Return what was found.

        Raises:
            ProbeFailedError: The target is not well. OSError, ssl.SSLError and socket.gaierror may pass
                through; they are translated by `failure_of`.
        """
        ...


class EndpointSource(Protocol):
    """Where the servers of a target are at this moment."""

    def primary_candidates(self) -> tuple[Endpoint, ...]:
        """The published primary alone; before the first publication every configured member. Never empty."""
        ...

    def is_published_primary(self, member: str) -> bool:
        """Whether the route names `member` as the primary now."""
        ...

"""The flags that applications obey, in the KV bucket `flags`.

| key | value | who obeys |
|---|---|---|
| `maintenance.<scope>` | `Switch` | the maintenance middleware; scope `all` or an application |
| `caching.<group>` | `Switch`: on means caching is *disabled* | the SDK's cache |
| `circuit.<target>` | `Switch`: on means the circuit is open | callers of that external service |
| `route.<cluster>` | `Route`: the primary with its epoch | the SDK's connections, the probes |
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from enum import StrEnum

import msgspec

from yaoki.epoch import NO_EPOCH, Epoch

BUCKET = "flags"


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is on or off. `{"on": true}` is enough for one that a person writes by hand.

    Attributes:
        by: The run or person that set it.
        since: UTC; None when whoever wrote it did not say.
        retry_after_s: For maintenance: what clients are told in `Retry-After`.
    """

    on: bool
    by: str = ""
    reason: str = ""
    since: datetime | None = None
    retry_after_s: int = 30


class RouteState(StrEnum):
    """SERVING: send to the primary. CUT: send nothing, wait for a new epoch. DEGRADED: serving from a fallback."""

    SERVING = "serving"
    CUT = "cut"
    DEGRADED = "degraded"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server listens. Credentials are the client's own and never stand here."""

    member: str
    host: str
    port: int


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where the clients of a cluster go.

    Invariant: `epoch` only grows; a writer uses compare-and-set and gives up when the stored epoch is higher.

    Attributes:
        primary: None only before the first publication.
        replicas: Members that may be read from.
        by: The run or person that published it: recovery opens again only what its own runs have cut.
    """

    cluster: str
    state: RouteState
    epoch: Epoch = NO_EPOCH
    primary: Endpoint | None = None
    replicas: tuple[Endpoint, ...] = ()
    since: datetime
    reason: str = ""
    by: str = ""


def maintenance_key(scope: str = "all") -> str:
    """Key of the maintenance switch of one application, or of all."""
    return f"maintenance.{scope}"


def caching_key(group: str) -> str:
    """Key of the switch that disables caching in one Redis group."""
    return f"caching.{group}"


def circuit_key(target: str) -> str:
    """Key of the circuit switch of one external target."""
    return f"circuit.{target}"


def route_key(cluster: str) -> str:
    """Key of the route of one cluster."""
    return f"route.{cluster}"

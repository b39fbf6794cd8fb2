"""What Sentinels say of a Redis group, and what follows from it. Pure.

Invariants: one Sentinel is never believed, only the newest configuration among the answers of more than half of them;
nobody is promoted here, and a route only ever follows what they have decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec
from yaoki.config.forms import Address  # noqa: TC002 - msgspec reads the annotation at run time
from yaoki.epoch import NO_EPOCH, Epoch
from yaoki.errors import ErrorCode, TransientError
from yaoki.flags import Endpoint, Route, RouteState
from yaoki.runs.errors import ActionFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from yaoki.config.clusters import Sentinels


class SentinelsSilentError(TransientError):
    """Half of the Sentinels or more do not answer, so that nobody knows who the master is."""


class NoQuorumError(ActionFailedError):
    """`-NOQUORUM`: the Sentinels are too few to authorise a failover; it was not ordered."""

    default_code: ClassVar[ErrorCode] = ErrorCode.UNSAFE


class NoGoodReplicaError(ActionFailedError):
    """`-NOGOODSLAVE`: no replica is connected, recent enough and allowed to become the master."""


class FailoverRunsError(ActionFailedError):
    """`-INPROG`: a failover of this master has begun already, and is to be waited for."""

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFLICT


class SentinelView(msgspec.Struct, frozen=True, kw_only=True):
    """What one Sentinel says of the group.

    Attributes:
        sentinel: Which one.
        master: Where it sends clients.
        config_epoch: Age of that knowledge; every failover has a higher one.
        down: It cannot reach the master either.
        replicas: Those that it knows of, reachable or not.
    """

    sentinel: Address
    master: Address
    config_epoch: int
    down: bool = False
    replicas: tuple[Address, ...] = ()


def newest(settings: Sentinels, views: Sequence[SentinelView]) -> SentinelView:
    """The newest configuration.

    Raises:
        SentinelsSilentError: Too few have answered: those on the other side may have decided otherwise.
    """
    asked, needed = len(settings.addresses), len(settings.addresses) // 2 + 1
    if len(views) < needed:
        answered = ", ".join(str(view.sentinel) for view in views) or "none"
        raise SentinelsSilentError(
            f"{len(views)} of {asked} Sentinels of {settings.master!r} answered ({answered}); "
            f"expected at least {needed}"
        )
    return max(views, key=lambda view: view.config_epoch)


def endpoint_of(address: Address) -> Endpoint:
    """A server that Sentinel knows; its address is its name."""
    return Endpoint(member=str(address), host=address.host, port=address.port)


def route_to(group: str, view: SentinelView, *, epoch: Epoch, now: datetime, reason: str) -> Route:
    """The route that leads to the master of `view`."""
    return Route(
        cluster=group,
        state=RouteState.SERVING,
        epoch=epoch,
        primary=endpoint_of(view.master),
        replicas=tuple(endpoint_of(one) for one in sorted(view.replicas) if one != view.master),
        since=now,
        reason=reason,
    )


def followed(group: str, published: Route | None, view: SentinelView, now: datetime) -> Route | None:
    """The route to publish because Sentinel has decided by itself; None while the published one is right.

    Its epoch is one above the published one, so that every client notices it. A run that begins later is still above
    it: it counts by the event stream, to which every publication adds an event. A cut route is left to who cut it.
    """
    if published is not None and published.state is RouteState.CUT:
        return None
    epoch = NO_EPOCH if published is None else Epoch(published.epoch.incarnation, published.epoch.counter + 1)
    route = route_to(group, view, epoch=epoch, now=now, reason=f"Sentinel names {view.master} as the master")
    if published is not None and (published.primary, published.replicas) == (route.primary, route.replicas):
        return None
    return route

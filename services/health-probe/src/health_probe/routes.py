"""Where the servers of a cluster are: the published route, kept in memory; the configuration before there is one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog
from yaoki.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from yaoki.flags import Endpoint, Route

_RETRY_S: Final = 1.0
_log = structlog.get_logger(__name__)


class RouteSource(Protocol):
    """Reads and follows published routes."""

    async def route(self, cluster: str) -> Route | None:
        """The present route; None before the first publication."""
        ...

    def watch_routes(self, cluster: str = "") -> AsyncIterator[Route]:
        """Present routes, then every change, for ever."""
        ...


class RouteBook:
    """The newest route of every cluster.

    While a route is cut the primary of before goes on being probed: whether it has come back is exactly what
    recovery wants to know.
    """

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}

    def take(self, route: Route) -> None:
        """Remember `route` unless a newer epoch is known."""
        known = self._routes.get(route.cluster)
        if known is not None and route.epoch < known.epoch:
            return
        if route.primary is None and known is not None:
            route = msgspec.structs.replace(route, primary=known.primary)
        self._routes[route.cluster] = route

    def primary(self, cluster: str) -> Endpoint | None:
        """The published primary; None before the first publication."""
        route = self._routes.get(cluster)
        return route.primary if route else None

    async def load(self, source: RouteSource, clusters: Iterable[str]) -> None:
        """Read the present routes, so that nothing is probed by the configuration that has long been moved."""
        for cluster in clusters:
            route = await source.route(cluster)
            if route is not None:
                self.take(route)

    async def follow(self, source: RouteSource) -> None:
        """Keep up with every change, for ever."""
        while True:
            try:
                async for route in source.watch_routes():
                    self.take(route)
            except TransientError as exc:
                _log.warning("routes are not followed, trying again", error=exc.message)
            await asyncio.sleep(_RETRY_S)


class RoutedEndpoints:
    """See `EndpointSource`: the servers of one cluster or group.

    Args:
        members: From the configuration.
    """

    def __init__(self, book: RouteBook, cluster: str, members: tuple[Endpoint, ...]) -> None:
        self._book = book
        self._cluster = cluster
        self._members = members

    def primary_candidates(self) -> tuple[Endpoint, ...]:
        """See `EndpointSource.primary_candidates`."""
        primary = self._book.primary(self._cluster)
        return (primary,) if primary else self._members

    def is_published_primary(self, member: str) -> bool:
        """See `EndpointSource.is_published_primary`."""
        primary = self._book.primary(self._cluster)
        return primary is not None and primary.member == member


class FixedEndpoint:
    """See `EndpointSource`: a server that belongs to no cluster."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def primary_candidates(self) -> tuple[Endpoint, ...]:
        """See `EndpointSource.primary_candidates`."""
        return (self._endpoint,)

    def is_published_primary(self, member: str) -> bool:  # noqa: ARG002 - nobody publishes a route for it
        """See `EndpointSource.is_published_primary`."""
        return False

"""Reads and writes the flags that applications obey, and says so with an event.

A flag is written first and announced after; a writer that dies in between is made good by the repeat of its
order, because writing the same again changes nothing and announces it again under the same identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from yaoki.errors import ConflictError, StaleEpochError
from yaoki.events.flags import FlagChanged
from yaoki.flags import BUCKET, Route, RouteState, Switch, route_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from yaoki.clock import Clock
    from yaoki.epoch import Epoch
    from yaoki.messaging.ports import Entry, EventPublisher, KeyValue

_log = structlog.get_logger("yaoki.flags")
_ATTEMPTS = 8

Flag = TypeVar("Flag", Switch, Route)


class FlagStore:
    """The bucket `flags`.

    Invariant: the epoch of a route only grows. Among writers of the same epoch (steps of one leader's run,
    which are ordered) the last one wins.

    Args:
        kv: Bucket `flags`.
        publisher: For `FlagChanged`.
        clock: For `since`.
    """

    def __init__(self, kv: KeyValue, publisher: EventPublisher, clock: Clock) -> None:
        self._kv = kv
        self._publisher = publisher
        self._clock = clock

    async def switch(self, key: str) -> Switch | None:
        """The switch at `key` (see `yaoki.flags`); None when nobody has ever set it."""
        return _decode(await self._kv.get(key), Switch)

    async def set_switch(self, key: str, *, on: bool, by: str, reason: str = "", retry_after_s: int = 30) -> Switch:
        """Turn a switch on or off, whoever set it before.

        `since` stays when the switch is in that position already.

        Raises:
            TransientError: NATS does not answer; the switch may have been written.
        """

        def decide(stored: Switch | None) -> Switch:
            since = stored.since if stored is not None and stored.on == on else self._clock.now()
            return Switch(on=on, by=by, reason=reason, since=since, retry_after_s=retry_after_s)

        return await self._write(key, Switch, decide, by=by, reason=reason)

    async def route(self, cluster: str) -> Route | None:
        """Where the clients of `cluster` go; None before the first publication."""
        return _decode(await self._kv.get(route_key(cluster)), Route)

    async def publish_route(self, route: Route, *, by: str = "") -> Route:
        """Write `route` unless a later leader has written already; return what now stands.

        The same route of the same epoch again changes nothing (`since` stays).

        Raises:
            StaleEpochError: The stored route has a higher epoch; nothing was written.
            TransientError: NATS does not answer; the route may have been written.
        """

        def decide(stored: Route | None) -> Route:
            return _successor(stored, msgspec.structs.replace(route, by=by or route.by))

        return await self._write(route_key(route.cluster), Route, decide, by=by, reason=route.reason)

    async def cut_route(self, cluster: str, *, epoch: Epoch, by: str, reason: str) -> Route:
        """Tell the clients of `cluster` to send nothing until a new route is published.

        The endpoints are kept, so that an undo can see where clients went. Raises as `publish_route`.
        """

        def decide(stored: Route | None) -> Route:
            cut = Route(
                cluster=cluster,
                state=RouteState.CUT,
                epoch=epoch,
                primary=None if stored is None else stored.primary,
                replicas=() if stored is None else stored.replicas,
                since=self._clock.now(),
                reason=reason,
                by=by,
            )
            return _successor(stored, cut)

        return await self._write(route_key(cluster), Route, decide, by=by, reason=reason)

    async def watch_routes(self, cluster: str = "") -> AsyncIterator[Route]:
        """Present routes, then every change, for ever: of one cluster, or of all. Skips unreadable ones."""
        async for entry in self._kv.watch(route_key(cluster)):
            route = _decode(entry, Route)
            if route is not None and cluster in ("", route.cluster):
                yield route

    async def _write(
        self, key: str, kind: type[Flag], decide: Callable[[Flag | None], Flag], *, by: str, reason: str
    ) -> Flag:
        """Compare-and-set until nobody is in the way; decides anew on what the other one wrote."""
        for _ in range(_ATTEMPTS):
            entry = await self._kv.get(key)
            stored = _decode(entry, kind)
            flag = decide(stored)
            try:
                revision = await self._store(key, entry, stored, flag)
            except ConflictError:
                continue
            await self._announce(key, flag, revision, by=by, reason=reason)
            return flag
        raise ConflictError(f"flag {key!r} was changed by others {_ATTEMPTS} times in a row; try again later")

    async def _store(self, key: str, entry: Entry | None, stored: Flag | None, flag: Flag) -> int:
        if entry is None:
            return await self._kv.create(key, msgspec.json.encode(flag))
        if flag == stored:
            return entry.revision
        return await self._kv.update(key, msgspec.json.encode(flag), revision=entry.revision)

    async def _announce(self, key: str, flag: Switch | Route, revision: int, *, by: str, reason: str) -> None:
        value = msgspec.json.encode(flag).decode()
        event = FlagChanged(flag=key.replace(".", "-"), value=value, by=by, reason=reason)
        await self._publisher.publish(event, event_id=f"{BUCKET}.{key}.{revision}")


def _successor(stored: Route | None, route: Route) -> Route:
    """What stands after `route` was ordered: the stored one when nothing but `since` would change.

    Raises:
        StaleEpochError: The stored epoch is higher.
    """
    if stored is None:
        return route
    if stored.epoch > route.epoch:
        raise StaleEpochError(
            f"route of {route.cluster!r} has epoch {stored.epoch}, above {route.epoch} of this order; "
            "a newer leader has decided, so this order must be dropped"
        )
    return stored if msgspec.structs.replace(route, since=stored.since) == stored else route


def _decode(entry: Entry | None, kind: type[Flag]) -> Flag | None:
    """None when there is none, or when it cannot be read: a person may put anything into a bucket.

    What cannot be read is logged and may be overwritten: a route informs clients, the lease fences servers.
    """
    if entry is None or entry.value is None:
        return None
    try:
        return msgspec.json.decode(entry.value, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        _log.error("a flag cannot be read and counts as absent", key=entry.key, revision=entry.revision)
        return None

"""Which server a query goes to. Pure: the route and the replicas' records in, an endpoint out."""

from __future__ import annotations

import msgspec

from yaoki.flags import Endpoint, Route, RouteState


def writable(route: Route | None) -> Endpoint | None:
    """Where writes go, or None while nobody may be written to.

    Invariant: while a route is CUT nothing is sent anywhere, because the old primary is being fenced and the
    new one is not proven yet.
    """
    if route is None or route.state is RouteState.CUT:
        return None
    return route.primary


def supersedes(new: Route, old: Route | None) -> bool:
    """Whether `new` may replace `old`. A late message of an older epoch must never lead back to an old primary."""
    return old is None or new.epoch >= old.epoch


class ReplicaRecord(msgspec.Struct, frozen=True):
    """How often a replica failed in a row, and until when it is left alone (monotonic seconds)."""

    failures: int = 0
    rest_until: float = 0.0


_FIRST_REST_S = 1.0
_LONGEST_REST_S = 30.0


class ReplicaRing:
    """Round-robin over the replicas that answer.

    A replica that fails rests for 1 s, doubling to 30 s, so that a dead one costs a connection attempt now and
    then and not one a query.
    """

    def __init__(self) -> None:
        self._records: dict[Endpoint, ReplicaRecord] = {}
        self._turn = 0

    def choose(self, replicas: tuple[Endpoint, ...], now: float) -> Endpoint | None:
        """The next replica that is not resting; None when there is none (read from the primary then)."""
        ready = [one for one in replicas if self._records.get(one, ReplicaRecord()).rest_until <= now]
        if not ready:
            return None
        self._turn += 1
        return ready[self._turn % len(ready)]

    def failed(self, replica: Endpoint, now: float) -> None:
        """Let it rest, longer each time in a row."""
        failures = self._records.get(replica, ReplicaRecord()).failures + 1
        rest = min(_FIRST_REST_S * 2 ** (failures - 1), _LONGEST_REST_S)
        self._records[replica] = ReplicaRecord(failures, now + rest)

    def succeeded(self, replica: Endpoint) -> None:
        """It answers again."""
        self._records.pop(replica, None)

"""A PostgreSQL replica is well when it is in recovery, its WAL receiver streams and it is not far behind.

The probe's role needs `GRANT pg_monitor TO yaoki`, without which the WAL receiver's state is hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yaoki.events.probe import ErrorClass, ProbeStatus

from health_probe.adapters.postgres import open_session
from health_probe.attempt import Facts, Finding, ProbeFailedError

if TYPE_CHECKING:
    from yaoki.flags import Endpoint

    from health_probe.adapters.network import Network
    from health_probe.adapters.postgres import Login, Row
    from health_probe.attempt import Phases
    from health_probe.ports import EndpointSource

_STATE: Final = """
SELECT pg_is_in_recovery() AS standby,
       pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::bigint AS received,
       pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint AS replayed,
       -- the age of the last replayed commit grows for ever on an idle primary, so it only counts while
       -- something received is still to be replayed
       CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8
           AS lag_seconds,
       receiver.pid IS NOT NULL AS receiving,
       receiver.status AS receiver_status,
       receiver.received_tli AS timeline,
       pg_wal_lsn_diff(receiver.latest_end_lsn, '0/0')::bigint AS upstream_end
FROM (SELECT 1) AS one LEFT JOIN pg_stat_wal_receiver AS receiver ON true
"""


class PostgresReplicaCheck:
    """See `Check`.

    Args:
        endpoint: The member that is watched, whatever its role becomes.
        max_lag_bytes: More than this behind is a failure of class `capacity`.
        max_lag_s: Likewise in seconds; None does not look at seconds.
    """

    def __init__(
        self,
        *,
        network: Network,
        login: Login,
        endpoint: Endpoint,
        endpoints: EndpointSource,
        max_lag_bytes: int,
        max_lag_s: float | None = None,
    ) -> None:
        self._network = network
        self._login = login
        self._endpoint = endpoint
        self._endpoints = endpoints
        self._max_lag_bytes = max_lag_bytes
        self._max_lag_s = max_lag_s

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: lag_bytes, lag_seconds, received, replayed, timeline, receiver."""
        async with (
            open_session(self._network, phases, self._endpoint, self._login) as session,
            phases.phase("query"),
        ):
            row = await session.fetchrow(_STATE)
        if row is None:
            raise ProbeFailedError(ErrorClass.PROTOCOL, "the query for the replica's state has no answer")
        phases.name = "verdict"
        if not row["standby"]:
            return self._not_a_standby()
        facts = _facts(row, self._endpoint.member)
        self._require_streaming(row, facts)
        self._require_small_lag(facts)
        if row["receiver_status"] is None:
            return Finding(
                status=ProbeStatus.DEGRADED,
                error_class=ErrorClass.AUTH,
                detail="the WAL receiver's state is hidden: GRANT pg_monitor to the probe's role",
                facts=facts,
            )
        return Finding(facts=facts)

    def _not_a_standby(self) -> Finding:
        member = self._endpoint.member
        facts: Facts = {"member": member, "standby": False}
        if self._endpoints.is_published_primary(member):
            return Finding(detail=f"{member} is the primary now and replicates from nobody", facts=facts)
        sentence = f"{member} accepts writes but the route does not name it the primary"
        raise ProbeFailedError(ErrorClass.PROTOCOL, sentence, facts)

    def _require_streaming(self, row: Row, facts: Facts) -> None:
        if not row["receiving"]:
            raise ProbeFailedError(ErrorClass.REFUSED, "the replica has no WAL receiver: it is cut off", facts)
        if row["receiver_status"] not in (None, "streaming"):
            sentence = f"the WAL receiver is {row['receiver_status']}, expected streaming"
            raise ProbeFailedError(ErrorClass.REFUSED, sentence, facts)

    def _require_small_lag(self, facts: Facts) -> None:
        lag_bytes, lag_s = facts["lag_bytes"], facts["lag_seconds"]
        if isinstance(lag_bytes, int) and lag_bytes > self._max_lag_bytes:
            sentence = f"{lag_bytes} bytes behind, at most {self._max_lag_bytes} allowed"
            raise ProbeFailedError(ErrorClass.CAPACITY, sentence, facts)
        if self._max_lag_s is not None and isinstance(lag_s, float) and lag_s > self._max_lag_s:
            sentence = f"{lag_s:.1f} s behind, at most {self._max_lag_s:g} s allowed"
            raise ProbeFailedError(ErrorClass.CAPACITY, sentence, facts)


def _facts(row: Row, member: str) -> Facts:
    """Lag is measured from the furthest position known here: the upstream's end when it is visible."""
    received, replayed = row["received"] or 0, row["replayed"] or 0
    newest = max(received, replayed, row["upstream_end"] or 0)
    return {
        "member": member,
        "standby": True,
        "received": received,
        "replayed": replayed,
        "lag_bytes": newest - replayed,
        "lag_seconds": row["lag_seconds"],
        "timeline": row["timeline"],
        "receiver": row["receiver_status"] or ("hidden" if row["receiving"] else "none"),
    }

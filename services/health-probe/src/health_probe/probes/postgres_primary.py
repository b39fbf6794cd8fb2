"""A PostgreSQL primary is well when it can be logged into, is not a standby and commits a write.

The probe needs a role of its own with the least rights::

    CREATE ROLE yaoki LOGIN PASSWORD '...';
    GRANT CONNECT ON DATABASE orders TO yaoki;
    CREATE SCHEMA yaoki AUTHORIZATION yaoki;      -- only for `write_check`

It writes nothing outside the table `yaoki.yaoki_probe`, which it creates itself and in which every target has
one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yaoki.events.probe import ErrorClass, ProbeStatus

from health_probe.adapters.postgres import (
    APPLICATION_NAME,
    NOT_PERMITTED,
    UndefinedTableError,
    open_session,
)
from health_probe.attempt import Facts, Finding, ProbeFailedError
from health_probe.probes.candidates import first_well

if TYPE_CHECKING:
    from yaoki.flags import Endpoint

    from health_probe.adapters.network import Network
    from health_probe.adapters.postgres import Login, Session
    from health_probe.attempt import Phases
    from health_probe.ports import EndpointSource

_STATE: Final = """
SELECT 1 AS one,
       pg_is_in_recovery() AS standby,
       CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint END AS lsn,
       CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE pg_walfile_name(pg_current_wal_lsn()) END AS wal_file
"""

_WAITING: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = current_user AND application_name = $1 AND wait_event = 'SyncRep' AND pid <> pg_backend_pid()
"""

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS yaoki.yaoki_probe (
    target text PRIMARY KEY,
    writes bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
)
"""

_WRITE: Final = """
INSERT INTO yaoki.yaoki_probe AS row (target, writes) VALUES ($1, 1)
ON CONFLICT (target) DO UPDATE SET writes = row.writes + 1, written_at = now()
RETURNING writes
"""

_READ: Final = "SELECT writes FROM yaoki.yaoki_probe WHERE target = $1"


class PostgresPrimaryCheck:
    """See `Check`. Looks where the route says that the primary is.

    Args:
        write_key: Row of this prober and target; None leaves the write check out.
    """

    def __init__(self, *, network: Network, login: Login, endpoints: EndpointSource, write_key: str | None) -> None:
        self._network = network
        self._login = login
        self._endpoints = endpoints
        self._write_key = write_key

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: member, timeline, lsn (bytes)."""
        return await first_well(self._check_at, phases, self._endpoints.primary_candidates())

    async def _check_at(self, phases: Phases, endpoint: Endpoint) -> Finding:
        async with open_session(self._network, phases, endpoint, self._login) as session:
            async with phases.phase("query"):
                row = await session.fetchrow(_STATE)
            if row is None or row["one"] != 1:
                raise ProbeFailedError(ErrorClass.PROTOCOL, "SELECT 1 did not answer 1")
            facts: Facts = {"member": endpoint.member, "standby": row["standby"]}
            if row["standby"]:
                sentence = f"{endpoint.member} answers at the primary's address but is a standby"
                raise ProbeFailedError(ErrorClass.PROTOCOL, sentence, facts)
            facts |= {"timeline": int(row["wal_file"][:8], 16), "lsn": row["lsn"]}
            if self._write_key is None:
                return Finding(facts=facts)
            return await self._write_back(phases, session, self._write_key, facts)

    async def _write_back(self, phases: Phases, session: Session, key: str, facts: Facts) -> Finding:
        async with phases.phase("write"):
            # A commit that waits for a standby cannot be interrupted from outside; starting another one at
            # every probe would use up the server's connections.
            if await session.fetchval(_WAITING, APPLICATION_NAME):
                sentence = "a commit still waits for a synchronous standby; writes are blocked"
                raise ProbeFailedError(ErrorClass.TIMEOUT, sentence, facts)
            try:
                written = await _write(session, key)
            except NOT_PERMITTED:
                return _not_set_up(facts)
        async with phases.phase("read-back"):
            read = await session.fetchval(_READ, key)
        # Another run of this probe may have written in between, hence not less rather than equal.
        if read is None or read < written:
            raise ProbeFailedError(ErrorClass.PROTOCOL, "a committed write could not be read back", facts)
        return Finding(facts=facts | {"write_checked": True})


async def _write(session: Session, key: str) -> int:
    try:
        return int(await session.fetchval(_WRITE, key))
    except UndefinedTableError:
        await session.execute(_CREATE)
        return int(await session.fetchval(_WRITE, key))


def _not_set_up(facts: Facts) -> Finding:
    # The database serves; a missing grant of ours must not start a failover.
    return Finding(
        status=ProbeStatus.DEGRADED,
        error_class=ErrorClass.AUTH,
        detail="the write check cannot run: create schema yaoki, owned by the probe's role",
        facts=facts | {"write_checked": False},
    )

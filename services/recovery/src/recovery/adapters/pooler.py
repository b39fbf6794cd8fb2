"""Has PgBouncer open its server connections anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg
import msgspec
from yaoki.errors import RejectedError, TransientError
from yaoki.hands import Sight, not_allowed
from yaoki.runs.errors import ActionFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.config.applications import Application, Pooler
    from yaoki.plans import JsonObject

_CONNECT_S: Final = 3.0
_ORDER_S: Final = 5.0


class PoolerParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose PgBouncer, by the application's name."""

    application: str


class Reconnected(msgspec.Struct, frozen=True, kw_only=True):
    """Every server connection is closed as soon as nobody uses it, and replaced."""

    databases: tuple[str, ...]


class ReconnectPooler:
    """See `Hand`. RECONNECT lets running transactions end, so that doing it twice does no harm."""

    name = "pgbouncer.reconnect"
    params = PoolerParams

    def __init__(self, applications: Mapping[str, Application]) -> None:
        self._applications = applications

    async def look(self, params: PoolerParams) -> Sight:
        """See `Hand.look`."""
        pooler = self._pooler(params)
        what = ", ".join(pooler.databases) or "all databases"
        return Sight(would=f"order RECONNECT of {what} at PgBouncer {pooler.host}:{pooler.port}")

    def happened(self, params: PoolerParams, before: JsonObject, now: Sight) -> None:
        """See `Hand.happened`."""

    async def act(self, params: PoolerParams, seen: Sight, order_id: str) -> Reconnected:  # noqa: ARG002 - the port's signature
        """See `Hand.act`."""
        pooler = self._pooler(params)
        orders = [f"RECONNECT {_quoted(name)}" for name in pooler.databases] or ["RECONNECT"]
        place = f"PgBouncer {pooler.host}:{pooler.port}"
        try:
            connection = await asyncpg.connect(
                host=pooler.host,
                port=pooler.port,
                user=pooler.user,
                password=pooler.password.reveal() if pooler.password else None,
                database="pgbouncer",
                timeout=_CONNECT_S,
                ssl=False,
            )
            try:
                for order in orders:
                    await connection.execute(order, timeout=_ORDER_S)
            finally:
                connection.terminate()
        except asyncpg.PostgresError as error:
            raise ActionFailedError(f"{place} refuses: {error}") from error
        except (TimeoutError, OSError, asyncpg.InterfaceError) as error:
            raise TransientError(f"{place}: {str(error) or type(error).__name__}") from error
        return Reconnected(databases=pooler.databases)

    def _pooler(self, params: PoolerParams) -> Pooler:
        application = self._applications.get(params.application)
        if application is None or application.pooler is None:
            known = [name for name, one in self._applications.items() if one.pooler is not None]
            raise not_allowed("application", params.application, known, "recovery.applications.*.pooler")
        return application.pooler


def _quoted(name: str) -> str:
    if '"' in name or "\0" in name:
        raise RejectedError(f"database {name!r} cannot be named to PgBouncer; quotes are not allowed")
    return f'"{name}"'

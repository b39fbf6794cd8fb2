"""What an application imports to live through a failover: connections, cache, maintenance mode, events.

from yaoki.sdk import Credentials, Yaoki

async with Yaoki.connect("nats://127.0.0.1:14222", application="orders") as yaoki:
    async with yaoki.database("orders", Credentials(...)) as database:
        async with database.primary() as connection:
            await connection.execute("INSERT ...")
"""

from yaoki.commands.application import CollectGarbage, ResetPools, WarmCache
from yaoki.sdk.application import Yaoki
from yaoki.sdk.cache import Cache
from yaoki.sdk.database import Credentials, Database
from yaoki.sdk.maintenance import MaintenanceMiddleware
from yaoki.sdk.pools import CONNECTION_LOST, PoolLimits
from yaoki.sdk.requests import RequestStats, RequestStatsMiddleware

__all__ = [
    "CONNECTION_LOST",
    "Cache",
    "CollectGarbage",
    "Credentials",
    "Database",
    "MaintenanceMiddleware",
    "PoolLimits",
    "RequestStats",
    "RequestStatsMiddleware",
    "ResetPools",
    "WarmCache",
    "Yaoki",
]

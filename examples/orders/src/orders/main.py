"""Wires the order service and runs it: the only place that opens anything."""

from __future__ import annotations

import asyncio
import signal

import uvicorn
from yaoki.sdk import WarmCache, Yaoki

from orders.settings import Settings
from orders.store import OrderStore
from orders.web import build_app, warm


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM."""
    async with (
        Yaoki.connect(settings.nats, application="orders") as yaoki,
        yaoki.database(settings.cluster, settings.credentials) as database,
        yaoki.cache(settings.cache_group, password=settings.redis_password, prefix="order:") as cache,
    ):
        store = OrderStore(database)
        await store.create_schema()

        async def warm_cache(_: WarmCache) -> dict[str, int]:
            return {"loaded": await warm(store, cache)}

        yaoki.on_command(WarmCache, warm_cache)
        await yaoki.serve_commands()
        app = yaoki.maintenance(build_app(store, cache))
        server = uvicorn.Server(
            uvicorn.Config(app, settings.http_host, settings.http_port, access_log=False, log_level="warning")
        )
        try:
            await server.serve()
        finally:
            await app.stop()


def main() -> None:
    """Run the service until it is told to stop."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.run(serve(Settings.from_environment()))


if __name__ == "__main__":
    main()

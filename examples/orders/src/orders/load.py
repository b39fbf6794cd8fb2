"""Load on the order service: clients that repeat an order until it is acknowledged, and keep a ledger.

python -m orders.load --url http://127.0.0.1:18090 --ledger ledger.jsonl --clients 8 --rate 100
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx

from orders.ledger import Acknowledged, Ledger

_ATTEMPT_TIMEOUT_S = 3.0
_PAUSE_AFTER_FAILURE_S = 0.05
_ACKNOWLEDGED = frozenset({200, 201})


class LoadGenerator:
    """Some clients, each with one order on its way at a time.

    Args:
        url: Of the order service.
        ledger: Where acknowledged orders are recorded.
        clients: How many send at the same time.
        rate: Orders a second of all clients together.
    """

    def __init__(self, url: str, ledger: Ledger, *, clients: int, rate: float) -> None:
        self._url = url
        self._ledger = ledger
        self._clients = clients
        self._pause = clients / rate
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let every client finish the order it is at, acknowledged or not, and end."""
        self._stopping.set()

    async def run(self) -> None:
        """Send until stopped."""
        limits = httpx.Limits(max_connections=self._clients)
        async with (
            httpx.AsyncClient(base_url=self._url, timeout=_ATTEMPT_TIMEOUT_S, limits=limits) as http,
            asyncio.TaskGroup() as clients,
        ):
            for number in range(self._clients):
                clients.create_task(self._client(http, number))

    async def _client(self, http: httpx.AsyncClient, number: int) -> None:
        await self._idle(self._pause * number / self._clients)
        while not self._stopping.is_set():
            began = time.monotonic()
            await self._place_until_acknowledged(http)
            await self._idle(self._pause - (time.monotonic() - began))

    async def _place_until_acknowledged(self, http: httpx.AsyncClient) -> None:
        key = uuid4()
        began = time.monotonic()
        attempts = 0
        while not self._stopping.is_set():
            attempts += 1
            if await _place(http, {"key": str(key), "item": "lantern", "quantity": 1}):
                waited = time.monotonic() - began
                self._ledger.record(Acknowledged(key=key, at=datetime.now(UTC), attempts=attempts, waited_s=waited))
                if attempts == 1:
                    await _read(http, str(key))
                return
            await self._idle(_PAUSE_AFTER_FAILURE_S)

    async def _idle(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)


async def _place(http: httpx.AsyncClient, order: dict[str, object]) -> bool:
    try:
        return (await http.post("/orders", json=order)).status_code in _ACKNOWLEDGED
    except httpx.HTTPError:
        return False


async def _read(http: httpx.AsyncClient, key: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        await http.get(f"/orders/{key}")


async def _main(url: str, ledger: Path, clients: int, rate: float) -> None:
    with Ledger(ledger) as book:
        generator = LoadGenerator(url, book, clients=clients, rate=rate)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, generator.stop)
        await generator.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m orders.load", description="Load on the order service.")
    parser.add_argument("--url", default="http://127.0.0.1:18090")
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rate", type=float, default=100.0, help="orders a second, all clients together")
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.url, arguments.ledger, arguments.clients, arguments.rate))

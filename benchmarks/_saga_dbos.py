"""DBOS's side of `saga_step.py`, in an environment of its own: `python _saga_dbos.py NATS_URL DATABASE ORDER STEPS`.

For each line on standard input, a number, it plays so many sagas and prints their seconds as one JSON list. Each step
sends ORDER to the same worker as Yaoki does and waits for the reply. SQLite syncs every commit.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import nats

# Neither is in this workspace's environment; the program runs in one that has them.
_dbos: Any = importlib.import_module("dbos")
_sqlalchemy: Any = importlib.import_module("sqlalchemy")


async def main(url: str, database: str, order: bytes, steps: int) -> None:
    """Play until standard input ends."""
    client = await nats.connect(url)

    def sync(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA synchronous=FULL")

    _sqlalchemy.event.listen(_sqlalchemy.engine.Engine, "connect", sync)
    dbos = _dbos.DBOS
    dbos(
        config={
            "name": "saga-step",
            "system_database_url": f"sqlite:///{database}",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )

    async def order_once() -> str:
        reply = await client.request("yaoki.api.noop.perform", order, timeout=10)
        return reply.data.decode()

    async def play() -> None:
        for _ in range(steps):
            await step()

    step, saga = dbos.step()(order_once), dbos.workflow()(play)
    dbos.launch()
    _say("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        taken = []
        for _ in range(int(line)):
            began = time.perf_counter()
            await saga()
            taken.append(time.perf_counter() - began)
        _say(json.dumps(taken))
    dbos.destroy()
    await client.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes(), int(sys.argv[4])))

"""The demonstration itself: kill the database, watch; kill the cache, watch; count what was lost."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orders.audit import Audit, audit
from orders.ledger import read_ledger
from yaoki.events.probe import FailureCleared, FailureDetected
from yaoki.events.recovery import DurabilityRestored, MemberRejoined
from yaoki.events.runs import RunFinished
from yaoki.flags import route_key
from yaoki.sdk import Yaoki
from yaoki.sdk.routes import RouteWatch
from yaoki_cli.local.configuration import CACHE, CLUSTER
from yaoki_cli.local.services import Service

from rescue.measure import Rescue, attempts, unavailability
from rescue.observer import Observer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from yaoki.events import Event
    from yaoki_cli.local.system import LocalSystem

    from rescue.screen import Screen

_WARM_WRITES = 200
_RESCUE_S = 40.0
_AFTERWARDS_S = 30.0
_POLL_S = 0.05


class Outcome:
    """What happened in the whole demonstration."""

    def __init__(self) -> None:
        self.rescues: list[Rescue] = []
        self.audit = Audit(acknowledged=0, stored=0, lost=())

    @property
    def good(self) -> bool:
        """Everything was repaired and nothing acknowledged was lost."""
        return bool(self.rescues) and self.audit.acknowledged > 0 and not self.audit.lost


class Story:
    """One run of the demonstration on a running system.

    Args:
        system: Up.
        screen: Where to show it.
        directory: For the ledger.
    """

    def __init__(self, system: LocalSystem, screen: Screen, directory: Path) -> None:
        self._system = system
        self._stack = system.stack()
        self._screen = screen
        self._ledger = directory / "ledger.jsonl"

    async def tell(self) -> Outcome:
        """Run it to its end.

        Raises:
            TimeoutError: Something that had to happen did not.
        """
        outcome = Outcome()
        async with (
            Yaoki.connect(self._stack.nats.url, application="demo") as yaoki,
            Observer(yaoki, self._screen.event) as observer,
            self.load(),
        ):
            outcome.rescues.append(await self.rescue_database(yaoki, observer))
            outcome.rescues.append(await self.rescue_cache(yaoki, observer))
        outcome.audit = await self.count_losses()
        return outcome

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Place orders while the block runs; entered when the first of them are acknowledged."""
        url = f"http://{self._system.addresses.orders}"
        self._screen.say(f"orders are being placed at {url}")
        load = Service(
            name="load",
            arguments=(
                "-m",
                "orders.load",
                "--url",
                url,
                "--ledger",
                str(self._ledger),
            ),
        )
        self._system.services.start(load)
        try:
            await _until(
                f"{_WARM_WRITES} acknowledged orders",
                lambda: self._ledger.exists() and len(read_ledger(self._ledger)) > _WARM_WRITES,
            )
            yield
        finally:
            self._system.services.signal("load", signal.SIGTERM)
            await _until("the end of the load", lambda: not self._system.services.processes("load"))

    async def rescue_database(self, yaoki: Yaoki, observer: Observer) -> Rescue:
        """Kill the PostgreSQL primary; return when it follows its successor."""
        victim = await self._primary(yaoki, CLUSTER)
        node = self._stack.postgres.node(victim)
        rescue, killed_at = await self._rescue(f"PostgreSQL primary ({victim})", "orders-db", node.kill, observer)
        await observer.wait_for(
            f"{victim} following the new primary",
            lambda event: isinstance(event, MemberRejoined) and event.member == victim,
            since=killed_at,
            within_s=_AFTERWARDS_S,
        )
        # Until commits wait for a standby again, a second failure could find nobody who has them all.
        await observer.wait_for(
            "commits being acknowledged by two servers again",
            lambda event: isinstance(event, DurabilityRestored),
            since=killed_at,
            within_s=_AFTERWARDS_S,
        )
        return rescue

    async def rescue_cache(self, yaoki: Yaoki, observer: Observer) -> Rescue:
        """Kill the Redis master; return when the cache is well again."""
        victim = await self._primary(yaoki, CACHE)
        node = next(one for one in self._stack.redis_nodes if one.name == victim)
        rescue, _ = await self._rescue(f"Redis master ({victim})", "orders-cache", node.kill, observer)
        return rescue

    async def _rescue(
        self, victim: str, target: str, kill: Callable[[], Awaitable[None]], observer: Observer
    ) -> tuple[Rescue, datetime]:
        killed_at = datetime.now(UTC)
        self._screen.headline(f"SIGKILL to the {victim}", killed_at)
        await kill()
        detected = await observer.wait_for(
            f"detection of {target}'s failure",
            lambda event: isinstance(event, FailureDetected) and event.target == target,
            since=killed_at,
            within_s=_RESCUE_S,
        )
        finished = await observer.wait_for(
            f"the end of {target}'s recovery",
            lambda event: isinstance(event, RunFinished) and event.run_kind == "recovery",
            since=detected.envelope.time,
            within_s=_RESCUE_S,
        )
        await observer.wait_for(
            f"{target} being well again",
            lambda event: isinstance(event, FailureCleared) and event.target == target,
            since=detected.envelope.time,
            within_s=_AFTERWARDS_S,
        )
        return self._measure(
            victim, killed_at, detected.envelope.time, finished.envelope.time, finished.event
        ), killed_at

    def _measure(
        self, victim: str, killed_at: datetime, detected_at: datetime, finished_at: datetime, run: Event
    ) -> Rescue:
        if not isinstance(run, RunFinished) or not run.ending.startswith("completed"):
            raise TimeoutError(f"the recovery of the {victim} did not complete: {run}")
        entries = read_ledger(self._ledger)
        return Rescue(
            victim=victim,
            detection_s=(detected_at - killed_at).total_seconds(),
            recovery_s=(finished_at - killed_at).total_seconds(),
            unavailability_s=unavailability(entries, killed_at, datetime.now(UTC)),
            attempts=attempts(run),
            run_id=run.run_id,
        )

    async def count_losses(self) -> Audit:
        """Compare the ledger with the present primary."""
        async with Yaoki.connect(self._stack.nats.url, application="demo") as yaoki:
            primary = await self._primary(yaoki, CLUSTER)
        dsn = self._stack.postgres.node(primary).dsn(
            role="superuser", database=self._stack.postgres.primary.credentials.database
        )
        return await audit(dsn, read_ledger(self._ledger))

    async def _primary(self, yaoki: Yaoki, cluster: str) -> str:
        """Who is the primary according to the published route."""
        entry = await yaoki.flags.get(route_key(cluster))
        if entry is None:
            raise TimeoutError(f"no route of {cluster!r} has been published")
        routes = RouteWatch(yaoki.flags, cluster)
        await routes.start()
        try:
            endpoint, _ = await routes.writable(_RESCUE_S)
        finally:
            await routes.stop()
        return endpoint.member


async def _until(what: str, condition: Callable[[], bool], within_s: float = _RESCUE_S) -> None:
    """Wait for something that nobody announces.

    Raises:
        TimeoutError: Says what did not happen.
    """
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - files and processes have no event to wait for
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise TimeoutError(f"{what} did not happen within {within_s:g} s") from None

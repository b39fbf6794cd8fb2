"""What happens to a call between processes: delayed, lost on the way there or back, doubled, or NATS is away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from yaoki.errors import TransientError

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Awaitable, Callable

    from yaoki.clock import Clock
    from yaoki.testing.simulation.process import Process

T = TypeVar("T")


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """How bad it is. Probabilities for each call, times in seconds.

    Attributes:
        delay_s: Longest delay, each way.
        lost_requests: The call is never carried out.
        late_requests: The caller gives up, and the call is carried out after that.
        lost_replies: Carried out, and the caller never hears of it.
        doubled: Carried out twice.
        away: Windows (from, to) in which nothing gets through.
        until_s: After this moment it is calm, so that a history comes to its end.
    """

    delay_s: float = 0.002
    lost_requests: float = 0.0
    late_requests: float = 0.0
    lost_replies: float = 0.0
    doubled: float = 0.0
    away: tuple[tuple[float, float], ...] = ()
    until_s: float = 60.0


CALM = Weather()
_GIVEN_UP_S = 2.0
_LATEST_S = 8.0


class Network:
    """Carries calls.

    Args:
        weather: See there.
        rng: Every choice is drawn from it.
        clock: Virtual time.
    """

    def __init__(self, weather: Weather, rng: random.Random, clock: Clock) -> None:
        self._weather = weather
        self._rng = rng
        self._clock = clock
        self._tasks: set[asyncio.Task[Any]] = set()

    async def call(self, process: Process, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, as `process` gets it; what was sent goes on when its sender dies.

        Raises:
            TransientError: It was lost, or its reply was.
        """
        await process.alive()
        await self._delay()
        if self._away():
            await self._give_up("NATS is away")
        if self._happens(self._weather.lost_requests):
            await self._give_up("no answer")
        if self._happens(self._weather.late_requests):
            self.later(work)
            await self._give_up("no answer")
        if self._happens(self._weather.doubled):
            self.later(work)
        result = await asyncio.shield(self._spawn(work))
        if self._happens(self._weather.lost_replies) or self._away():
            await self._give_up("no answer")
        await self._delay()
        await process.alive()
        return result

    def later(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Carry `work` out at some moment, whoever has died or given up by then."""
        delay = self._rng.uniform(0.0, _LATEST_S)

        async def wait() -> None:
            await self._clock.sleep(delay)
            await work()

        self._spawn(wait)

    def _spawn(self, work: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        async def run() -> T:
            return await work()

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may have died or given up; nobody else would look

    def _happens(self, probability: float) -> bool:
        calm = self._clock.monotonic() >= self._weather.until_s
        return not calm and probability > 0 and self._rng.random() < probability

    def _away(self) -> bool:
        now = self._clock.monotonic()
        return any(begin <= now < end for begin, end in self._weather.away)

    async def _delay(self) -> None:
        if self._weather.delay_s:
            await self._clock.sleep(self._rng.uniform(0.0, self._weather.delay_s))

    async def _give_up(self, why: str) -> None:
        await self._clock.sleep(_GIVEN_UP_S)
        raise TransientError(f"{why} (simulated)")


class Calls:
    """A port as one process reaches it over the network: every method is a call; `watch` is passed on."""

    def __init__(self, inner: Any, process: Process, network: Network) -> None:
        self._inner = inner
        self._process = process
        self._network = network

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            return await self._network.call(self._process, lambda: method(*arguments, **named))

        return call

    async def watch(self, prefix: str = "") -> AsyncIterator[Any]:
        """See `KeyValue.watch`."""
        async for entry in self._inner.watch(prefix):
            await self._process.alive()
            yield entry

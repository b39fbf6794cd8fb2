"""Sentinel processes, by redis-py."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from yaoki.config.forms import Address
from yaoki.errors import ErrorCode, TransientError
from yaoki.runs.errors import ActionFailedError

from recovery.sentinel import FailoverRunsError, NoGoodReplicaError, NoQuorumError, SentinelView

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki.config.clusters import Sentinels

_TIMEOUT_S = 1.0
_REFUSALS: dict[str, type[ActionFailedError]] = {
    "INPROG": FailoverRunsError,
    "NOQUORUM": NoQuorumError,
    "NOGOODSLAVE": NoGoodReplicaError,
}
"""First word of what Sentinel answers."""


class RedisSentinels:
    """See `recovery.ports.SentinelProcesses`. Keeps one connection to each until it is closed."""

    def __init__(self) -> None:
        self._known: dict[Sentinels, Sentinel] = {}

    async def views(self, settings: Sentinels) -> list[SentinelView]:
        """See `SentinelProcesses.views`."""
        answers = await asyncio.gather(*(self._view(settings, address) for address in settings.addresses))
        return [view for view in answers if view is not None]

    async def order_failover(self, settings: Sentinels, through: Address) -> None:
        """See `SentinelProcesses.order_failover`.

        `SENTINEL FAILOVER` asks no other Sentinel, so the quorum is asked for before.
        """
        client = self._client(settings, through)
        with _translated(through):
            await client.sentinel_ckquorum(settings.master)
            await client.sentinel_failover(settings.master)

    async def close(self) -> None:
        """Close every connection."""
        for sentinel in self._known.values():
            await asyncio.gather(*(client.aclose() for client in sentinel.sentinels))

    async def _view(self, settings: Sentinels, address: Address) -> SentinelView | None:
        client = self._client(settings, address)
        try:
            with _translated(address):
                master: Any = await client.sentinel_master(settings.master, return_responses=True)
                replicas: Any = await client.sentinel_slaves(settings.master)
        except (TransientError, ActionFailedError):
            return None
        return SentinelView(
            sentinel=address,
            master=_address(master),
            config_epoch=int(master["config-epoch"]),
            down=bool(master["is_sdown"] or master["is_odown"]),
            replicas=tuple(map(_address, replicas)),
        )

    def _client(self, settings: Sentinels, address: Address) -> redis.asyncio.Redis:
        if settings not in self._known:
            self._known[settings] = Sentinel(  # type: ignore[no-untyped-call]  # redis-py does not annotate it
                [(one.host, one.port) for one in settings.addresses],
                sentinel_kwargs={
                    "username": settings.user,
                    "password": settings.password.reveal() if settings.password else None,
                    "socket_timeout": _TIMEOUT_S,
                    "socket_connect_timeout": _TIMEOUT_S,
                    "retry": Retry(NoBackoff(), 0),
                },
            )
        return self._known[settings].sentinels[settings.addresses.index(address)]


def _address(fields: dict[str, Any]) -> Address:
    return Address(str(fields["ip"]), int(fields["port"]))


@contextmanager
def _translated(address: Address) -> Iterator[None]:
    """Driver errors become ours, Sentinel's refusals those of `recovery.sentinel`."""
    try:
        yield
    except redis.exceptions.ResponseError as error:
        words = str(error)
        kind = _REFUSALS.get(words.partition(" ")[0], ActionFailedError)
        raise kind(f"Sentinel {address} answered: {words}") from error
    except (OSError, TimeoutError, redis.exceptions.RedisError) as error:
        raise TransientError(f"Sentinel {address}: {error}", code=ErrorCode.UNAVAILABLE) from error

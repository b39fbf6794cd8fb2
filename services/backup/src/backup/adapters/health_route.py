"""`GET /ops/health/backup`: for who watches backups from outside, also while NATS is away."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from backup.errors import BackupError
from backup.freshness import Freshness, judge, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from yaoki.clock import Clock
    from yaoki.config.backup import BackupTarget

    from backup.repository import Repository

PATH: Final = "/ops/health/backup"
_READ_S: Final = 30.0


class _Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    status: str
    targets: dict[str, Freshness]


def health_route(
    targets: Mapping[str, BackupTarget], repositories: Mapping[str, Repository], clock: Clock, key: str
) -> Route:
    """Answers 200 while every target is fresh, 503 otherwise, and 401 to whoever does not bring the key.

    Args:
        targets: Of the configuration.
        repositories: By name.
        clock: For ages.
        key: Expected as `Authorization: Bearer <key>`.
    """

    async def fresh(name: str, target: BackupTarget) -> Freshness:
        try:
            async with asyncio.timeout(_READ_S):
                catalogue = await repositories[target.repository].catalogue(name)
        except BackupError as error:
            return unknown(error.message)
        except TimeoutError:
            return unknown(f"the store did not answer within {_READ_S:.0f} s")
        return judge(catalogue.of(name), now=clock.now(), limit_s=target.stale_after)

    async def health(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {key}".encode()):
            return Response(status_code=401, headers={"www-authenticate": "Bearer"})
        found = await asyncio.gather(*(fresh(name, target) for name, target in targets.items()))
        healthy = bool(found) and all(one.healthy for one in found)
        answer = _Health(status="healthy" if healthy else "unhealthy", targets=dict(zip(targets, found, strict=True)))
        status = 200 if healthy else 503
        return Response(msgspec.json.encode(answer), status_code=status, media_type="application/json")

    return Route(PATH, health)

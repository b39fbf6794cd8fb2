"""Restarts containers through the Docker Engine API on its Unix socket."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
import msgspec
from yaoki.errors import TransientError
from yaoki.hands import Sight, not_allowed
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.config.repairs import Repairs
    from yaoki.plans import JsonObject

_ANSWER_S: Final = 10.0
_POLL_S: Final = 0.2


class ContainerParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which container, by name."""

    container: str


class ContainerRestarted(msgspec.Struct, frozen=True, kw_only=True):
    """The container runs, started anew; healthy where it has a health check."""

    container: str
    id: str
    started_at: str


class _Health(msgspec.Struct):
    Status: str = ""


class _State(msgspec.Struct):
    Status: str
    Running: bool
    StartedAt: str
    Health: _Health | None = None


class _Container(msgspec.Struct):
    Id: str
    State: _State


class RestartContainer:
    """See `Hand`. Each start of a container has its own time, so a repeat sees that it has happened."""

    name = "docker.restart"
    params = ContainerParams

    def __init__(self, repairs: Repairs) -> None:
        self._docker = repairs.docker

    async def look(self, params: ContainerParams) -> Sight:
        """See `Hand.look`."""
        allowed = self._docker.containers if self._docker else ()
        if params.container not in allowed:
            raise not_allowed("container", params.container, allowed, "repairs.docker.containers")
        return _sight(params, await self._inspect(params))

    def happened(self, params: ContainerParams, before: JsonObject, now: Sight) -> bool:  # noqa: ARG002 - the port's signature
        """See `Hand.happened`."""
        return now.facts["status"] == "running" and now.before != before

    async def act(self, params: ContainerParams, seen: Sight, order_id: str) -> ContainerRestarted:  # noqa: ARG002 - as above
        """See `Hand.act`. Waits for the container's own health check, if it has one."""
        patience = int(self._docker.patience) if self._docker else 0
        answer = await self._call(
            "POST",
            f"/containers/{quote(params.container, safe='')}/restart?t={patience}",
            timeout_s=patience + _ANSWER_S,
        )
        if answer.status_code != HTTPStatus.NO_CONTENT:
            raise ActionFailedError(f"Docker did not restart {params.container}: {_said(answer)}")
        while True:
            now = await self._inspect(params)
            health = now.State.Health.Status if now.State.Health else ""
            if health == "unhealthy" or now.State.Status in {"exited", "dead"}:
                raise ActionFailedError(
                    f"container {params.container} is {health or now.State.Status} after its restart"
                )
            if self.happened(params, seen.before, _sight(params, now)) and health != "starting":
                return ContainerRestarted(container=params.container, id=now.Id, started_at=now.State.StartedAt)
            await asyncio.sleep(_POLL_S)

    async def _inspect(self, params: ContainerParams) -> _Container:
        answer = await self._call("GET", f"/containers/{quote(params.container, safe='')}/json")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise PreconditionFailedError(f"Docker has no container {params.container!r}")
        if answer.status_code != HTTPStatus.OK:
            raise TransientError(f"Docker cannot say how {params.container} is: {_said(answer)}")
        try:
            return msgspec.json.decode(answer.content, type=_Container)
        except msgspec.DecodeError as error:
            raise TransientError(f"Docker's answer about {params.container} is not as documented: {error}") from error

    async def _call(self, method: str, path: str, *, timeout_s: float = _ANSWER_S) -> httpx.Response:
        async with self._client(timeout_s) as client:
            ping = await client.get("/_ping")
            version = ping.headers.get("Api-Version", "")
            return await client.request(method, f"/v{version}{path}" if version else path)

    @asynccontextmanager
    async def _client(self, timeout_s: float) -> AsyncIterator[httpx.AsyncClient]:
        socket = self._docker.socket if self._docker else ""
        transport = httpx.AsyncHTTPTransport(uds=socket, verify=False)
        try:
            async with httpx.AsyncClient(
                transport=transport, base_url="http://docker", timeout=timeout_s, trust_env=False
            ) as client:
                yield client
        except httpx.HTTPError as error:
            raise TransientError(f"Docker at {socket}: {str(error) or type(error).__name__}") from error


def _sight(params: ContainerParams, container: _Container) -> Sight:
    state = container.State
    return Sight(
        would=f"restart the container {params.container}, which is {state.Status}",
        before={"id": container.Id, "started_at": state.StartedAt},
        facts={"status": state.Status, "health": state.Health.Status if state.Health else ""},
    )


def _said(answer: httpx.Response) -> str:
    try:
        body: Any = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        body = {}
    message = body.get("message", "") if isinstance(body, dict) else ""
    return f"{answer.status_code} {message or answer.reason_phrase}"

"""Containers are restarted through the Docker Engine API, spoken by a real HTTP server on a Unix socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from health_probe.agent.hands.docker import RestartContainer
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from yaoki.config import DockerSettings, Repairs
from yaoki.plans import OutcomeStatus
from yaoki.testing import eventually

from .orders import Agent, succeeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

API = "1.47"


class Engine:
    """What the Docker Engine API documents of `/_ping`, `containers/{name}/json` and `containers/{name}/restart`.

    Attributes:
        healths: What the health check says, one after the other, the last for ever.
        refuses: The daemon's error for the next restarts.
        dies_after: The container exits again at once.
    """

    def __init__(self) -> None:
        self.restarts: list[dict[str, str]] = []
        self.healths: list[str] = []
        self.refuses = ""
        self.dies_after = False
        self._status = "running"

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/_ping", self._ping),
                Route(f"/v{API}/containers/{{name}}/json", self._inspect),
                Route(f"/v{API}/containers/{{name}}/restart", self._restart, methods=["POST"]),
            ]
        )

    async def _ping(self, _request: Request) -> Response:
        return PlainTextResponse("OK", headers={"Api-Version": API})

    async def _inspect(self, request: Request) -> Response:
        if request.path_params["name"] != "orders-1":
            return JSONResponse({"message": f"No such container: {request.path_params['name']}"}, 404)
        state: dict[str, Any] = {
            "Status": self._status,
            "Running": self._status == "running",
            "Paused": False,
            "StartedAt": f"2026-01-01T00:00:0{len(self.restarts)}.123456789Z",
        }
        if self.healths:
            health = self.healths.pop(0) if len(self.healths) > 1 else self.healths[0]
            state["Health"] = {"Status": health, "FailingStreak": 0, "Log": []}
        return JSONResponse({"Id": "3f4e", "Name": "/orders-1", "State": state})

    async def _restart(self, request: Request) -> Response:
        if self.refuses:
            return JSONResponse({"message": self.refuses}, 500)
        self.restarts.append(dict(request.query_params))
        self._status = "exited" if self.dies_after else "running"
        return Response(status_code=204)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    one = Engine()
    server = uvicorn.Server(
        uvicorn.Config(one.app(), uds=str(tmp_path / "docker.sock"), log_level="warning", lifespan="off")
    )
    serving = asyncio.create_task(server._serve())  # noqa: SLF001 - `serve` would take over the signals of the tests
    await eventually(lambda: server.started)
    yield one
    server.should_exit = True
    await serving


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    docker = DockerSettings(socket=str(tmp_path / "docker.sock"), containers=("orders-1", "gone"), patience=3.0)
    return Agent(RestartContainer(Repairs(docker=docker)))


async def test_a_container_is_restarted_once(engine: Engine, agent: Agent) -> None:
    """The dry run changes nothing; a repeat after a crash finds it done."""
    seen = await agent.look(container="orders-1")
    assert engine.restarts == []
    first = succeeded(await agent.perform(container="orders-1", before=seen["before"]))
    again = succeeded(await agent.reborn().perform(container="orders-1", before=seen["before"]))

    assert seen["would"] == "restart the container orders-1, which is running"
    assert first["started_at"].startswith("2026-01-01T00:00:01")
    assert again["already"] is True
    assert engine.restarts == [{"t": "3"}]


async def test_the_containers_own_health_check_is_waited_for(engine: Engine, agent: Agent) -> None:
    """Started is not healthy."""
    engine.healths = ["unhealthy", "starting", "starting", "healthy"]

    succeeded(await agent.perform(container="orders-1"))

    assert engine.healths == ["healthy"]


@pytest.mark.parametrize(
    ("trait", "value", "says"),
    [
        ("refuses", "driver failed programming external connectivity", "500 driver failed programming"),
        ("dies_after", True, "is exited after its restart"),
        ("healths", ["starting", "starting", "unhealthy"], "is unhealthy after its restart"),
    ],
)
async def test_what_docker_says_is_in_the_outcome(
    engine: Engine, agent: Agent, trait: str, value: object, says: str
) -> None:
    """The action has failed."""
    setattr(engine, trait, value)

    outcome = await agent.perform(container="orders-1")

    assert outcome.status is OutcomeStatus.FAILED
    assert says in outcome.error


async def test_missing_forbidden_and_unreachable_are_told_apart(engine: Engine, agent: Agent, tmp_path: Path) -> None:
    """Skipped, refused, failed."""
    nowhere = DockerSettings(socket=str(tmp_path / "nowhere.sock"), containers=("orders-1",))

    missing = await agent.perform(container="gone")
    forbidden = await agent.perform(container="orders-1/../../images")
    unreachable = await Agent(RestartContainer(Repairs(docker=nowhere))).perform(container="orders-1")

    assert missing.status is OutcomeStatus.SKIPPED
    assert forbidden.status is OutcomeStatus.REFUSED
    assert "repairs.docker.containers allows gone or orders-1" in forbidden.error
    assert unreachable.status is OutcomeStatus.FAILED
    assert "nowhere.sock" in unreachable.error
    assert engine.restarts == []

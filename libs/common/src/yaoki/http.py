"""Serves health and metrics over HTTP inside the service's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import override

from yaoki.config.forms import Address
from yaoki.errors import FatalError
from yaoki.telemetry.metrics import exposition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

_BACKLOG = 128
_GRACE_S = 3


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the service."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.listening.set()


class HttpServer:
    """An HTTP server with the lifetime of its service.

    Args:
        app: Routes, or a whole ASGI application.
        address: Where to listen; port 0 takes a free one.
    """

    def __init__(self, app: Sequence[BaseRoute] | ASGIApp, address: Address) -> None:
        self._app: ASGIApp = app if callable(app) else Starlette(routes=list(app))
        self._address = address
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> Address:
        """Where it listens: the real port once started."""
        return self._address

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{self._address}"

    async def start(self) -> None:
        """Return when requests are answered.

        Raises:
            FatalError: The address cannot be listened on.
        """
        listener = _listen(self._address)
        self._address = Address(self._address.host, int(listener.getsockname()[1]))
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=_GRACE_S,
            server_header=False,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name=f"http {self._address}")
        await self._server.listening.wait()
        if not self._server.started:
            await self._task  # raises what went wrong

    async def stop(self) -> None:
        """Answer what is being answered, for some seconds, then close. Stopping twice does nothing."""
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        await self._task
        self._server = self._task = None


def standard_routes(reasons_not_ready: Callable[[], list[str]]) -> list[Route]:
    """`/live` (this loop turns), `/ready` (503 with the reasons while there are any) and `/metrics`.

    Args:
        reasons_not_ready: E.g. `messaging.healthy`; empty means ready.
    """

    async def live(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_request: Request) -> Response:
        reasons = reasons_not_ready()
        body = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return JSONResponse(body, status_code=503 if reasons else 200)

    async def metrics(_request: Request) -> Response:
        body, content_type = exposition()
        return Response(body, headers={"content-type": content_type})

    return [Route("/live", live), Route("/ready", ready), Route("/metrics", metrics)]


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise FatalError(f"cannot listen on {address} ({exc.strerror}); free the port or name another address") from exc
    listener.setblocking(False)  # noqa: FBT003 - the signature of socket
    return listener

"""Request-reply endpoints as NATS micro services, wrapped once.

nats.micro alone handles one request at a time for each endpoint and answers a failure with `repr(exc)`.
Here each request is a task, their number is bounded, and an answer is the reply struct or a typed error:
headers `Nats-Service-Error`, `Nats-Service-Error-Code` (as of HTTP) and `Yaoki-Error-Code`, and a body that says
the same. Each answer names its author in `Yaoki-Instance`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors
import structlog
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER
from nats.micro.service import EndpointConfig, Service, ServiceConfig, ServiceStats
from typing_extensions import override

from yaoki.clock import Uuid7Source
from yaoki.errors import ErrorCode, RejectedError, TransientError, YaokiError
from yaoki.messaging import metrics, tracing
from yaoki.messaging.decoding import StrictDecoder
from yaoki.messaging.envelope import TRACEPARENT, escape_sentence
from yaoki.messaging.examples import example_json
from yaoki.messaging.store import wire_size
from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client
    from nats.micro.request import Request as MicroRequest

    from yaoki.commands.base import Request
    from yaoki.subjects import Subjects

    Handler = Callable[[Any], Awaitable[msgspec.Struct]]

_log = structlog.get_logger("yaoki.messaging")

YAOKI_ERROR_CODE = "Yaoki-Error-Code"
YAOKI_INSTANCE = "Yaoki-Instance"
VERSION = "0.1.0"

_MAX_IN_FLIGHT = 64
_STOP_S = 10.0
_MAX_HEADER = 900
_OWN_HEADER = 200

HTTP_CODES: dict[ErrorCode, int] = {
    ErrorCode.INVALID: 400,
    ErrorCode.NOT_ALLOWED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.STALE_EPOCH: 409,
    ErrorCode.CANCELLED: 409,
    ErrorCode.UNSAFE: 409,
    ErrorCode.EXPIRED: 410,
    ErrorCode.PRECONDITION: 412,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.TIMEOUT: 504,
}
_INTERNAL = 500


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer holds when the request failed."""

    error: str
    code: str


class Endpoint:
    """One verb of one service.

    Args:
        request_type: The struct that is asked for.
        handler: Returns the reply struct, or raises a YaokiError.
        service: Name of the micro service.
        instance: Named in answers to internal errors, so that somebody can find the log.
    """

    def __init__(self, request_type: type[Request], handler: Handler, *, service: str, instance: str) -> None:
        self.request_type = request_type
        self.service = service
        self._handler = handler
        self._instance = instance
        self._decoder: StrictDecoder[Any] = StrictDecoder([request_type])
        self._ids = Uuid7Source()
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests = 0
        self.errors = 0
        self.busy_ns = 0
        self.last_error = ""

    @property
    def verb(self) -> str:
        """Last token of the subject."""
        return self.request_type.verb

    def config(self, subjects: Subjects) -> EndpointConfig:
        """How nats.micro shows it: `nats micro info` tells what to send."""
        doc = (self.request_type.__doc__ or "").strip().partition("\n")[0]
        return EndpointConfig(
            name=self.verb,
            subject=subjects.api(self.service, self.verb),
            handler=self.accept,
            # A queue group of its own for each process: then all of them get the request.
            queue_group=self._instance if self.request_type.every_instance else "q",
            metadata={
                "description": doc,
                "request": self.request_type.__name__,
                "reply": self.request_type.reply.__name__,
                "example": example_json(self.request_type),
            },
        )

    async def accept(self, request: MicroRequest) -> None:
        """Begin to handle a request and return at once, so that the next one can be taken."""
        self.requests += 1
        if len(self._tasks) >= _MAX_IN_FLIGHT:
            busy = TransientError(f"{self.service} is busy with {_MAX_IN_FLIGHT} requests; try again in a moment")
            await self._answer(request, *self._failure(busy))
            return
        task = asyncio.get_running_loop().create_task(self._run(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Let running requests finish, for a while."""
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=_STOP_S)
            await end_tasks(pending)

    async def _run(self, request: MicroRequest) -> None:
        started = time.perf_counter_ns()
        parent = (request.headers or {}).get(TRACEPARENT)
        code = "200"
        try:
            with tracing.Consuming(f"serve {self.service}.{self.verb}", parent):
                reply = await self._handler(self._decoder.decode(request.data))
            body, headers = msgspec.json.encode(reply), {"content-type": "application/json"}
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is answered here
            body, headers = self._failure(error)
            code = headers[ERROR_CODE_HEADER]
        await self._answer(request, body, headers)
        elapsed = time.perf_counter_ns() - started
        self.busy_ns += elapsed
        metrics.REQUESTS.labels(self.service, self.verb, code).inc()
        metrics.REQUEST_SECONDS.labels(self.service, self.verb).observe(elapsed / 1e9)

    def _failure(self, error: Exception) -> tuple[bytes, dict[str, str]]:
        """The answer to a failed request; nothing of a foreign error leaves the process."""
        self.errors += 1
        if isinstance(error, YaokiError):
            sentence, code = error.message, error.code
        else:
            reference = self._ids.new()
            _log.error("request failed", service=self.service, verb=self.verb, reference=reference, exc_info=error)
            sentence = f"internal error, see the log of {self._instance}, reference {reference}"
            code = ErrorCode.INTERNAL
        self.last_error = f"{code}: {sentence}"[:_MAX_HEADER]
        headers = {
            "content-type": "application/json",
            ERROR_HEADER: escape_sentence(sentence)[:_MAX_HEADER],
            ERROR_CODE_HEADER: str(HTTP_CODES.get(code, _INTERNAL)),
            YAOKI_ERROR_CODE: code.value,
        }
        return msgspec.json.encode(ErrorBody(error=sentence, code=code.value)), headers

    async def _answer(self, request: MicroRequest, body: bytes, headers: dict[str, str]) -> None:
        client: Client = request._msg._client  # noqa: SLF001 - nats.micro has no reader for its own client
        if wire_size(body, headers) + _OWN_HEADER > client.max_payload:
            too_large = RejectedError(
                f"the answer of {len(body)} bytes is more than NATS takes ({client.max_payload}); ask for less"
            )
            body, headers = self._failure(too_large)
        try:
            await request.respond(body, headers={**headers, YAOKI_INSTANCE: self._instance})
        except (nats.errors.Error, ValueError) as error:
            # ValueError: a request without a reply subject (`nats pub`); nobody waits for the answer.
            _log.warning("answer not sent", service=self.service, verb=self.verb, error=type(error).__name__)


class _CountingService(Service):
    """nats.micro's counters see neither tasks nor typed errors; ours do."""

    def __init__(self, client: Client, config: ServiceConfig, endpoints: list[Endpoint]) -> None:
        super().__init__(client, config)
        self._counted = {endpoint.verb: endpoint for endpoint in endpoints}

    @override
    def stats(self) -> ServiceStats:
        stats = super().stats()
        for line in stats.endpoints:
            counted = self._counted.get(line.name)
            if counted is not None:
                line.num_requests = counted.requests
                line.num_errors = counted.errors
                line.processing_time = counted.busy_ns
                line.average_processing_time = counted.busy_ns // max(1, counted.requests)
                line.last_error = counted.last_error
        return stats


class ServedService:
    """One micro service with its endpoints."""

    def __init__(self, client: Client, subjects: Subjects, name: str, *, instance: str) -> None:
        self._client = client
        self._subjects = subjects
        self._name = name
        self._instance = instance
        self._endpoints: list[Endpoint] = []
        self._service: _CountingService | None = None

    def add(self, endpoint: Endpoint) -> None:
        """Add a verb; before `start`."""
        self._endpoints.append(endpoint)

    async def start(self) -> None:
        """Begin to answer."""
        if self._service is not None:
            return
        config = ServiceConfig(
            name=f"{self._subjects.prefix}-{self._name}",
            version=VERSION,
            description=f"Yaoki {self._name}: {', '.join(endpoint.verb for endpoint in self._endpoints)}",
            metadata={"instance": self._instance},
        )
        self._service = _CountingService(self._client, config, self._endpoints)
        await self._service.start()
        for endpoint in self._endpoints:
            await self._service.add_endpoint(endpoint.config(self._subjects))
        # The first request right after the start must find the subscription on the server. nats-py writes the PING of a
        # flush past the subscriptions that are still in its buffer; by its answer they are written, so the second
        # flush is the one that comes after them.
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            for _ in range(2):
                await self._client.flush(timeout=2)

    async def stop(self) -> None:
        """Take no more requests and let those that run finish."""
        if self._service is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._service.stop()
        await asyncio.gather(*(endpoint.drain() for endpoint in self._endpoints))

"""What the health probe answers: over NATS, and over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from yaoki.commands.probe import CheckIn, CheckReply, CheckTarget, ListTargets, TargetList
from yaoki.errors import ErrorCode, RejectedError, TransientError
from yaoki.events.probe import ProbeStatus
from yaoki.tasks import end_tasks

from health_probe.overview import Overview, summarise
from health_probe.records import public_verdict, public_view

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from yaoki.clock import Clock
    from yaoki.commands.probe import CheckInReply

    from health_probe.adapters.host import Host
    from health_probe.roster import Member
    from health_probe.watch_post import WatchPost

_LONGEST_CHECK_S: Final = 60.0
_TRANSFER_S: Final = 0.25
_log = structlog.get_logger(__name__)
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503


class Colleagues(Protocol):
    """The other probers."""

    async def check(self, member: Member, request: CheckTarget, within_s: float) -> CheckReply:
        """Have another prober probe. Raises TransientError, RejectedError."""
        ...


def prober_service(member: Member) -> str:
    """Name under which one prober alone answers."""
    return f"probe-{member.vantage}-{member.name}"


class ProbeHandlers:
    """`api.probe.*`."""

    def __init__(self, post: WatchPost, colleagues: Colleagues) -> None:
        self._post = post
        self._colleagues = colleagues

    async def check(self, request: CheckTarget) -> CheckReply:
        """Probe a target now, beside its scheduled probes and without any effect on its state.

        Whoever gets the question has it answered by the prober that is best for it; see `Roster.checker`. Where that
        is another one this one probes as well, and answers itself when the other does not.
        """
        monitored = self._post.prober.require(request.target)
        membership, vantages = self._post.membership, self._post.board.vantages(request.target)
        watching = membership.roster.owners(request.target, vantages)
        best = membership.roster.checker(request.target, vantages, membership.me)
        if monitored.remembers:
            best = membership.me if membership.me in watching or not watching else watching[0]
        if best is None or best == membership.me:
            return await self.check_here(request)
        within_s = _limit(request, monitored.timeout_s)
        asked = asyncio.create_task(self._colleagues.check(best, request, within_s + _TRANSFER_S))
        if membership.me.vantage not in vantages:
            return await asked
        own = asyncio.create_task(self.check_here(request))
        try:
            return await asked
        except TransientError as exc:
            _log.info("another prober does not answer, answering myself", prober=best.name, error=exc.message)
            return await own
        finally:
            await end_tasks([asked, own])

    async def check_here(self, request: CheckTarget) -> CheckReply:
        """Probe a target now, from here and nowhere else."""
        monitored = self._post.prober.require(request.target)
        limit = _limit(request, monitored.timeout_s)
        me, board = self._post.membership.me, self._post.board
        result = await self._post.prober.probe_now(request.target, limit)
        view, verdict = board.view(request.target, me.vantage), board.verdict(request.target)
        return CheckReply(
            target=request.target,
            result=result,
            health=public_view(view.record) if view else None,
            verdict=public_verdict(verdict.record) if verdict else None,
            vantage=me.vantage,
            prober=me.name,
        )

    async def list(self, _request: ListTargets) -> TargetList:
        """The verdict about every target, and the newest view of each of its vantages."""
        board = self._post.board
        names = sorted(self._post.prober.targets)
        verdicts = (board.verdict(name) for name in names)
        return TargetList(
            targets=tuple(public_view(view) for name in names for view in board.views(name)),
            verdicts=tuple(public_verdict(known.record) for known in verdicts if known is not None),
        )


def _limit(request: CheckTarget, usual_s: float) -> float:
    if request.timeout_s is None:
        return usual_s
    if not 0 < request.timeout_s <= _LONGEST_CHECK_S:
        raise RejectedError(
            f"timeout_s is {request.timeout_s:g}: expected more than 0 and at most {_LONGEST_CHECK_S:g} "
            "seconds, or leave it out for the target's own"
        )
    return request.timeout_s


class CheckInPage:
    """`POST /heartbeat/<target>`, for targets that speak HTTP and not NATS."""

    def __init__(self) -> None:
        self._check_in: Callable[[CheckIn], Awaitable[CheckInReply]] | None = None

    def open(self, check_in: Callable[[CheckIn], Awaitable[CheckInReply]]) -> None:
        """From now on check-ins can be stored."""
        self._check_in = check_in

    @property
    def routes(self) -> list[Route]:
        """Where the page is."""
        return [Route("/heartbeat/{target}", self._post, methods=["POST"])]

    async def _post(self, request: Request) -> Response:
        """200 when it is stored; 401 and 404 for what has to be put right; 503 to be tried again."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else None
        if self._check_in is None:
            return JSONResponse(
                {"error": ErrorCode.UNAVAILABLE, "message": "waiting for NATS, try again"}, _UNAVAILABLE
            )
        try:
            reply = await self._check_in(CheckIn(target=request.path_params["target"], token=bearer))
        except RejectedError as exc:
            status = _NOT_FOUND if exc.code is ErrorCode.NOT_FOUND else _UNAUTHORIZED
            return JSONResponse({"error": exc.code, "message": exc.message}, status_code=status)
        except TransientError as exc:
            message = f"not stored, try again: {exc.message}"
            return JSONResponse({"error": exc.code, "message": message}, status_code=_UNAVAILABLE)
        return Response(msgspec.json.encode(reply), media_type="application/json")


class HealthPages:
    """`GET /health` and `GET /health/detailed`."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._post: WatchPost | None = None
        self._reasons: Callable[[], list[str]] = lambda: ["waiting for NATS"]

    def open(self, post: WatchPost, reasons_not_ready: Callable[[], list[str]]) -> None:
        """From now on there are targets to speak of."""
        self._post = post
        self._reasons = reasons_not_ready

    def reasons_not_ready(self) -> list[str]:
        """For `/ready`: why this prober cannot tell what it sees; empty when it can."""
        return self._reasons()

    @property
    def routes(self) -> list[Route]:
        """Where the pages are."""
        return [Route("/health", self._alive), Route("/health/detailed", self._detailed)]

    async def _alive(self, _request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _detailed(self, _request: Request) -> Response:
        overview = await self._overview()
        broken = overview.status in (ProbeStatus.UNHEALTHY, ProbeStatus.UNKNOWN)
        return Response(
            msgspec.json.encode(overview),
            status_code=_UNAVAILABLE if broken else 200,
            media_type="application/json",
        )

    async def _overview(self) -> Overview:
        host = await self._host.parts()
        if self._post is None:
            return Overview(status=ProbeStatus.UNKNOWN, at=self._clock.now(), components=dict(host))
        post = self._post
        targets = post.prober.targets
        opinions = {name: post.judge.opinion(name) for name in targets}
        return summarise(targets.values(), opinions, host, self._clock.now())

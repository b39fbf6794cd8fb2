"""What targets tell the prober by themselves, over NATS: check-ins and reports of their requests."""

from __future__ import annotations

import asyncio
from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from yaoki.commands.probe import CheckIn, CheckInReply
from yaoki.errors import ConflictError, RejectedError, TransientError
from yaoki.live import CHECK_IN, REQUESTS, CheckInSignal, RequestsObserved
from yaoki.tasks import EndingGroup

from health_probe.heartbeats import BUCKET, LISTENING_EVERY
from health_probe.traffic import Report

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from yaoki.clock import Clock
    from yaoki.messaging import Messaging
    from yaoki.messaging.ports import Entry

    from health_probe.heartbeats import HeartbeatBook
    from health_probe.traffic import TrafficBook

_TARGETS: Final = "target."
_LISTENERS: Final = "listening."
_RETRY_S: Final = 1.0
_QUEUE: Final = "health-probe"
_log = structlog.get_logger(__name__)


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """Value of every key in the bucket: when a target was heard, or until when a prober listened; UTC.

    Attributes:
        since: From when on that prober listened without a break; None: only at that moment.
    """

    at: datetime
    since: datetime | None = None


class Intake:
    """Fills the books of heartbeats and traffic, and shares the check-ins with the other probers.

    Args:
        messaging: Connected; `serve` before it is started.
        heartbeats: Filled from KV, so that every prober knows what any of them heard.
        traffic: Filled from what is said on `live.requests.*`.
        clock: Dates what is heard.
    """

    def __init__(self, messaging: Messaging, heartbeats: HeartbeatBook, traffic: TrafficBook, clock: Clock) -> None:
        self._messaging = messaging
        self._heartbeats = heartbeats
        self._traffic = traffic
        self._clock = clock
        self._bucket = messaging.kv(BUCKET)
        self._since = clock.now()

    async def serve(self) -> None:
        """Answer check-ins and listen for what is not answered."""
        self._messaging.serve(CheckIn, self.check_in)
        subjects, client = self._messaging.subjects, self._messaging.client
        await client.subscribe(f"{subjects.live(CHECK_IN)}.*", queue=_QUEUE, cb=self._on_signal)
        await client.subscribe(f"{subjects.live(REQUESTS)}.*", cb=self._on_report)
        self._messaging.on_reconnect(self._listen_anew)
        await self._listen_anew()

    async def _listen_anew(self) -> None:
        # What was published before this moment may not have reached this connection.
        self._since = self._clock.now()

    async def check_in(self, request: CheckIn) -> CheckInReply:
        """Take a check-in; returns when it is stored.

        Raises:
            RejectedError: No such target, or the wrong token.
            TransientError: It could not be stored; the target has to ask again.
        """
        expectation = self._heartbeats.admit(request.target, request.token)
        now = self._clock.now()
        await self._bucket.put(f"{_TARGETS}{request.target}", _stamp(now))
        self._heartbeats.heard(request.target, now)
        return CheckInReply(target=request.target, at=now, next_by=now + expectation.patience)

    async def run(self) -> None:
        """Share what is heard, for ever."""
        async with EndingGroup() as group:
            group.create_task(self._follow(), name="check-ins")
            group.create_task(self._keep_listening(), name="listening")

    async def _follow(self) -> None:
        while True:
            try:
                async for entry in self._bucket.watch():
                    self._take(entry)
            except TransientError as exc:
                _log.warning("check-ins are not followed, trying again", error=exc.message)
            await asyncio.sleep(_RETRY_S)

    def _take(self, entry: Entry) -> None:
        if entry.value is None:
            return
        try:
            stamp = msgspec.json.decode(entry.value, type=Stamp)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            _log.error("check-in passed over", key=entry.key, error=str(exc))
            return
        # A prober whose clock is ahead must not excuse a target for as long as it was.
        at = min(stamp.at, self._clock.now())
        if entry.key.startswith(_TARGETS):
            self._heartbeats.heard(entry.key.removeprefix(_TARGETS), at)
        elif entry.key.startswith(_LISTENERS):
            self._heartbeats.listened(stamp.since or at, at)

    async def _keep_listening(self) -> None:
        """Write down again and again that somebody listens, and the first time of which targets."""
        known = False
        while self._heartbeats.targets:
            try:
                if not known:
                    await self._load()
                    known = True
                for target in self._heartbeats.targets:
                    if self._heartbeats.last(target) is None:
                        await self._begin(target)
                if self._messaging.connected:
                    await self._prove()
            except (TransientError, TimeoutError) as exc:
                _log.warning("cannot say that check-ins are heard", error=str(exc) or "no answer from NATS in time")
            await asyncio.sleep(LISTENING_EVERY.total_seconds())

    async def _prove(self) -> None:
        since, now = self._since, self._clock.now()
        # Not repeated over a reconnect: it would claim to have heard what was said without a connection.
        async with asyncio.timeout(LISTENING_EVERY.total_seconds()):
            await self._bucket.put(f"{_LISTENERS}{self._messaging.instance}", _stamp(now, since))
        if since == self._since:  # else the connection broke on the way: nobody knows when
            self._heartbeats.listened(since, now)

    async def _load(self) -> None:
        """Read who listened before, before saying so ourselves: else every start would look like a gap."""
        for key in await self._bucket.keys():
            entry = await self._bucket.get(key)
            if entry is not None:
                self._take(entry)

    async def _begin(self, target: str) -> None:
        """A target that has never checked in is expected to from now on."""
        now = self._clock.now()
        try:
            await self._bucket.create(f"{_TARGETS}{target}", _stamp(now))
        except ConflictError:
            return  # another prober was faster, or it has checked in before; the watch tells
        self._heartbeats.heard(target, now)

    async def _on_signal(self, message: Msg) -> None:
        target = message.subject.rpartition(".")[2]
        try:
            signal = msgspec.json.decode(message.data, type=CheckInSignal) if message.data else CheckInSignal()
            await self.check_in(CheckIn(target=target, token=signal.token))
        except (RejectedError, TransientError) as exc:
            _log.warning("check-in refused", target=target, error=exc.message)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            _log.warning("check-in is not readable", target=target, error=str(exc))

    async def _on_report(self, message: Msg) -> None:
        application = message.subject.rpartition(".")[2]
        try:
            observed = msgspec.json.decode(message.data, type=RequestsObserved)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            _log.warning("report of requests is not readable", application=application, error=str(exc))
            return
        self._traffic.take(application, Report(heard_at=self._clock.monotonic(), observed=observed))


def _stamp(at: datetime, since: datetime | None = None) -> bytes:
    return msgspec.json.encode(Stamp(at=at, since=since))

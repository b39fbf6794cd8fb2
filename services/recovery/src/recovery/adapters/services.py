"""Agents, probers and applications over NATS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.commands.agent import AgentStatus, AgentStatusQuery
from yaoki.commands.application import (
    ApplicationCommand,
    CollectGarbage,
    CommandDone,
    ResetPools,
    WarmCache,
    application_service,
)
from yaoki.commands.probe import CheckReply, CheckTarget
from yaoki.errors import RejectedError, TransientError
from yaoki.events.probe import ErrorClass, ProbeResult, ProbeStatus
from yaoki.telemetry import get_logger

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.messaging import Messaging

from recovery.ports import CommandAnswers

_log = get_logger(__name__)
_STATUS_S = 1.5
_REPLY_S = 1.0
_COMMANDS: dict[str, type[ApplicationCommand]] = {kind.verb: kind for kind in (CollectGarbage, ResetPools, WarmCache)}


class NatsAgents:
    """See `recovery.ports.Agents`."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging

    async def status(self, agent: str) -> AgentStatus | None:
        """See `Agents.status`. A silent agent and an absent one look alike."""
        try:
            reply = await self._messaging.request(AgentStatusQuery(), service=agent, timeout_s=_STATUS_S)
        except (TransientError, RejectedError) as error:
            _log.debug("agent does not answer", agent=agent, error=error.message)
            return None
        return reply if isinstance(reply, AgentStatus) else None


class NatsProber:
    """See `recovery.ports.Prober`."""

    def __init__(self, messaging: Messaging, clock: Clock) -> None:
        self._messaging = messaging
        self._clock = clock

    async def check(self, target: str, within_s: float) -> ProbeResult:
        """See `Prober.check`."""
        request = CheckTarget(target=target, timeout_s=within_s)
        try:
            reply = await self._messaging.request(request, timeout_s=within_s + _REPLY_S)
        except (TransientError, RejectedError) as error:
            return self._unknown(error.message)
        return reply.result if isinstance(reply, CheckReply) else self._unknown("the prober answered nonsense")

    def _unknown(self, detail: str) -> ProbeResult:
        return ProbeResult(
            status=ProbeStatus.UNKNOWN,
            at=self._clock.now(),
            response_ms=0.0,
            error_class=ErrorClass.LOCAL,
            detail=detail,
        )


class NatsApplications:
    """See `recovery.ports.Applications`."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging

    async def command(
        self, application: str, command: str, *, command_id: str, by: str, within_s: float
    ) -> CommandAnswers:
        """See `Applications.command`."""
        kind = _COMMANDS.get(command)
        if kind is None:
            raise RejectedError(f"there is no command {command!r} of applications; there are {', '.join(_COMMANDS)}")
        answers = await self._messaging.gather(
            kind(by=by, command_id=command_id, timeout_s=within_s),
            service=application_service(application),
            timeout_s=within_s + _REPLY_S,
        )
        done = {name: reply.result for name, reply in answers.replies.items() if isinstance(reply, CommandDone)}
        return CommandAnswers(
            done=done,
            failed={name: error.message for name, error in answers.errors.items()},
            silent=answers.silent,
        )

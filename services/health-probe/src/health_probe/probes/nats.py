"""A NATS server is well when it takes a login and carries a message; where asked for, when a stream stores one."""

import secrets
from collections.abc import Iterator
from typing import Annotated

import msgspec
from typing_extensions import override
from yaoki.config import Scope, Secret, Target
from yaoki.config.findings import Context
from yaoki.config.findings import Finding as Mistake
from yaoki.config.forms import AbsolutePath, Host, Port
from yaoki.events.probe import ErrorClass, FailureType, ProbeStatus

from health_probe.adapters.nats_client import NatsConversation, NatsLogin, converse
from health_probe.adapters.network import Network
from health_probe.attempt import Facts, Finding, Phases, ProbeFailedError, presentable
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.probes.tls import trusting
from health_probe.targets import Component

Subject = Annotated[str, msgspec.Meta(pattern=r"^[^\s.*>]+(\.[^\s.*>]+)*$")]

_UNAVAILABLE = 503


class NatsTarget(Target, frozen=True, kw_only=True, tag="nats"):
    """A NATS server. Without `stream_subject` and `request_subject` a message goes to the prober itself and back.

    Attributes:
        host: Where to connect.
        port: Where to connect.
        user: To sign in with `password`.
        password: Of `user`.
        token: To sign in without a user.
        tls: Whether the server encrypts.
        ca_file: Authorities to trust (PEM); the system's when left out.
        stream_subject: A message to it has to be acknowledged by a stream. It stays there: give the stream a limit.
        request_subject: A request to it has to be answered.
    """

    failures = frozenset({FailureType.NETWORK_PARTITION, FailureType.EXTERNAL_SERVICE})

    host: Host
    port: Port = 4222
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    tls: bool = False
    ca_file: AbsolutePath | None = None
    stream_subject: Subject | None = None
    request_subject: Subject | None = None

    @override
    def mistakes(self, path: str, context: Context) -> Iterator[Mistake]:
        """See `Target.mistakes`."""
        if (self.user is None) != (self.password is None):
            missing = "user" if self.user is None else "password"
            yield Mistake(path=f"{path}.{missing}", found="nothing", expected="user and password together, or neither")
        if self.token is not None and self.user is not None:
            yield Mistake(path=path, found="user and token", expected="one way to sign in")


class _PubAck(msgspec.Struct, frozen=True):
    class Error(msgspec.Struct, frozen=True):
        code: int = 0
        description: str = ""

    stream: str | None = None
    seq: int = 0
    error: Error | None = None


class NatsCheck:
    """See `Check`."""

    def __init__(
        self,
        *,
        network: Network,
        host: str,
        port: int,
        login: NatsLogin,
        tls: bool = False,
        ca_file: str | None = None,
        stream_subject: str | None = None,
        request_subject: str | None = None,
    ) -> None:
        self._network = network
        self._host = host
        self._port = port
        self._login = login
        self._tls = tls
        self._ca_file = ca_file
        self._stream_subject = stream_subject
        self._request_subject = request_subject

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: server, version, stream, sequence."""
        tls = trusting(self._ca_file) if self._tls else None
        async with converse(self._network, phases, self._host, self._port, login=self._login, tls=tls) as conversation:
            info = conversation.info
            facts: Facts = {"server": presentable(info.server_name), "version": presentable(info.version)}
            await self._carry(phases, conversation, facts)
        phases.name = "verdict"
        if info.ldm:
            detail = "the server is in lame duck mode: it is about to stop"
            return Finding(status=ProbeStatus.DEGRADED, error_class=ErrorClass.REFUSED, detail=detail, facts=facts)
        return Finding(facts=facts)

    async def _carry(self, phases: Phases, conversation: NatsConversation, facts: Facts) -> None:
        nonce = secrets.token_hex(8).encode()
        if self._stream_subject is None and self._request_subject is None:
            async with phases.phase("round-trip"):
                if await conversation.echo(nonce) != nonce:
                    raise ProbeFailedError(ErrorClass.PROTOCOL, "another message came back than was sent", facts)
        if self._request_subject is not None:
            async with phases.phase("request"):
                await conversation.request(self._request_subject, nonce)
        if self._stream_subject is not None:
            async with phases.phase("store"):
                answer = await conversation.request(self._stream_subject, nonce)
            facts |= _acknowledged(answer, self._stream_subject, facts)


def _acknowledged(answer: bytes, subject: str, facts: Facts) -> Facts:
    try:
        ack = msgspec.json.decode(answer, type=_PubAck)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise ProbeFailedError(ErrorClass.PROTOCOL, f"somebody answers at {subject}, but no stream", facts) from exc
    if ack.error is not None:
        full = ack.error.code == _UNAVAILABLE
        words = presentable(ack.error.description)
        sentence = f"the stream of {subject} answered {ack.error.code}: {words}"
        raise ProbeFailedError(ErrorClass.CAPACITY if full else ErrorClass.PROTOCOL, sentence, facts)
    if ack.stream is None:
        raise ProbeFailedError(ErrorClass.PROTOCOL, f"somebody answers at {subject}, but no stream", facts)
    return {"stream": presentable(ack.stream), "sequence": ack.seq}


def _build(_name: str, target: NatsTarget, surroundings: Surroundings) -> Check:
    login = NatsLogin(
        user=target.user,
        password=target.password.reveal() if target.password else None,
        token=target.token.reveal() if target.token else None,
    )
    return NatsCheck(
        network=surroundings.network,
        host=target.host,
        port=target.port,
        login=login,
        tls=target.tls,
        ca_file=target.ca_file,
        stream_subject=target.stream_subject,
        request_subject=target.request_subject,
    )


def _failure_type(target: NatsTarget) -> FailureType:
    return FailureType.EXTERNAL_SERVICE if target.scope is Scope.EXTERNAL else FailureType.NETWORK_PARTITION


KIND = ProbeKind(target=NatsTarget, component=Component.SERVICES, build=_build, failure_type=_failure_type)

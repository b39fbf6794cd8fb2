"""A TLS endpoint is well while its certificate verifies, by chain and name, and does not expire soon."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
from typing_extensions import override
from yaoki.clock import Clock
from yaoki.config import Scope, Target, format_duration
from yaoki.config.findings import Context
from yaoki.config.findings import Finding as Mistake
from yaoki.config.forms import AbsolutePath, Duration, Host, Port
from yaoki.events.probe import ErrorClass, FailureType, ProbeStatus

from health_probe.adapters import trust
from health_probe.adapters.network import Network
from health_probe.attempt import Facts, Finding, Phases, ProbeFailedError
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.targets import Component

_DAY_S: Final = 86_400.0


class TlsTarget(Target, frozen=True, kw_only=True, tag="tls"):
    """A server that begins with TLS. The handshake is a fresh one each time: a resumed one proves no certificate.

    Attributes:
        host: Where to connect.
        port: Where to connect.
        server_name: Name to ask for and to verify; `host` when left out.
        ca_file: Authorities to trust (PEM); the system's when left out.
        warn_within: A certificate that expires within this time is degraded.
        fail_within: A certificate that expires within this time is a failure.
    """

    failures = frozenset({FailureType.NETWORK_PARTITION, FailureType.EXTERNAL_SERVICE})

    host: Host
    port: Port = 443
    server_name: Host | None = None
    ca_file: AbsolutePath | None = None
    warn_within: Duration = 21 * _DAY_S
    fail_within: Duration = 7 * _DAY_S

    @override
    def mistakes(self, path: str, context: Context) -> Iterator[Mistake]:
        """See `Target.mistakes`."""
        if self.fail_within > self.warn_within:
            yield Mistake(
                path=f"{path}.fail_within",
                found=format_duration(self.fail_within),
                expected=f"at most warn_within, {format_duration(self.warn_within)}",
                also=(f"{path}.warn_within",),
            )


class Expiry(msgspec.Struct, frozen=True, kw_only=True):
    """How long before its end a certificate is degraded, and how long before it is a failure; seconds."""

    warn_within_s: float
    fail_within_s: float


class TlsCheck:
    """See `Check`."""

    def __init__(
        self,
        *,
        network: Network,
        host: str,
        port: int,
        server_name: str | None,
        ca_file: str | None,
        expiry: Expiry,
        clock: Clock,
    ) -> None:
        self._network = network
        self._host = host
        self._port = port
        self._server_name = server_name or host
        self._ca_file = ca_file
        self._expiry = expiry
        self._clock = clock

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: days_left, expires_at, subject, issuer, version."""
        context = trusting(self._ca_file)
        try:
            async with self._network.open_stream(
                phases, self._host, self._port, tls=context, server_name=self._server_name
            ) as stream:
                certificate, version = stream.certificate, stream.tls_version
        except ssl.SSLCertVerificationError as exc:
            reason = exc.verify_message.rstrip(".")
            raise ProbeFailedError(ErrorClass.TLS, f"the certificate of {self._server_name}: {reason}") from exc
        phases.name = "verdict"
        expires_at = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        facts: Facts = {
            "expires_at": datetime.fromtimestamp(expires_at, UTC).isoformat(),
            "subject": _name(certificate.get("subject")),
            "issuer": _name(certificate.get("issuer")),
            "version": version,
        }
        return judge(expires_at - self._clock.now().timestamp(), self._expiry, facts)


def judge(left_s: float, expiry: Expiry, facts: Facts) -> Finding:
    """Decide what the rest of a certificate's life says.

    Raises:
        ProbeFailedError: Class `tls`: it ends within `fail_within_s`.
    """
    facts = {"days_left": round(left_s / _DAY_S, 2), **facts}
    sentence = f"the certificate expires in {left_s / _DAY_S:.1f} days"
    if left_s <= expiry.fail_within_s:
        raise ProbeFailedError(ErrorClass.TLS, f"{sentence}, {format_duration(expiry.fail_within_s)} required", facts)
    if left_s <= expiry.warn_within_s:
        return Finding(status=ProbeStatus.DEGRADED, error_class=ErrorClass.TLS, detail=sentence, facts=facts)
    return Finding(facts=facts)


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """See `trust.trusting`.

    Raises:
        ProbeFailedError: Class `local`: `ca_file` cannot be read here.
    """
    try:
        return trust.trusting(ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ProbeFailedError(ErrorClass.LOCAL, f"ca_file {ca_file} holds no certificates: {exc.strerror}") from exc


def _name(parts: object) -> str:
    """The common name, or the whole name, of `((("commonName", "example.org"),),)`."""
    pairs = [pair for part in parts for pair in part] if isinstance(parts, tuple) else []
    common = [value for key, value in pairs if key == "commonName"]
    return common[0] if common else ", ".join(f"{key}={value}" for key, value in pairs)


def _build(_name: str, target: TlsTarget, surroundings: Surroundings) -> Check:
    return TlsCheck(
        network=surroundings.network,
        host=target.host,
        port=target.port,
        server_name=target.server_name,
        ca_file=target.ca_file,
        expiry=Expiry(warn_within_s=target.warn_within, fail_within_s=target.fail_within),
        clock=surroundings.clock,
    )


def _failure_type(target: TlsTarget) -> FailureType:
    return FailureType.EXTERNAL_SERVICE if target.scope is Scope.EXTERNAL else FailureType.NETWORK_PARTITION


KIND = ProbeKind(target=TlsTarget, component=Component.SERVICES, build=_build, failure_type=_failure_type)

"""How to reach NATS. Secrets arrive here already revealed and live only in this struct."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import msgspec
from faststream.nats.security import NatsCredentials, NatsNKey, NatsSecurity, NatsUserPassword
from typing_extensions import override

from yaoki.errors import FatalError

if TYPE_CHECKING:
    from typing import Any


class NatsTls(msgspec.Struct, frozen=True, kw_only=True):
    """TLS towards NATS.

    Attributes:
        ca_file: Authorities that may have signed the server's certificate; the system's when left out.
        cert_file: This client's certificate, for mutual TLS.
        key_file: Its key.
        hostname: Expected name of the server, where it differs from the URL's.
        handshake_first: Must equal the server's setting, or the connection fails with an empty response.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    hostname: str | None = None
    handshake_first: bool = False

    def context(self) -> ssl.SSLContext:
        """Build the TLS context.

        Raises:
            FatalError: Names the file that cannot be read.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            raise FatalError(
                f"nats.tls: cannot load ca_file={self.ca_file!r}, cert_file={self.cert_file!r}, "
                f"key_file={self.key_file!r} ({error}); check that the files exist and are PEM"
            ) from error
        return context


class NatsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach NATS.

    At most one of `user`, `nkey_seed` and `credentials_file` is used, in this order of preference reversed:
    credentials, then NKEY, then user and password.

    Attributes:
        servers: URLs, tried in random order.
        prefix: First token of every subject.
        user: Together with `password`.
        nkey_seed: NKEY user seed, revealed.
        credentials_file: Path of a `.creds` file.
        inbox_prefix: For identities that may subscribe only to their own inboxes.
        replicas: Of streams and buckets, 1 or 3.
        monitoring_url: `http://host:8222` of a server; the only way to see whether it syncs every write.
        require_sync: Refuse servers that are known not to run `sync_interval: always`.
        connect_log_s: How often a wait for the first connection is reported, seconds.
        publish_patience_s: How long a publish is retried; an election takes 4 to 7 s.
        freeze_limit_s: An event loop that stands still this long ends the process with status 70.
    """

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    prefix: str = "yaoki"
    user: str | None = None
    password: str | None = None
    nkey_seed: str | None = None
    credentials_file: str | None = None
    inbox_prefix: str = "_INBOX"
    tls: NatsTls | None = None
    replicas: int = 1
    monitoring_url: str | None = None
    require_sync: bool = True
    connect_log_s: float = 5.0
    publish_patience_s: float = 20.0
    freeze_limit_s: float = 20.0

    @override
    def __repr__(self) -> str:
        """Without secrets: settings end up in logs and tracebacks."""
        return f"NatsSettings(servers={self.servers!r}, prefix={self.prefix!r}, replicas={self.replicas!r})"

    def security(self) -> NatsSecurity | None:
        """FastStream's description of how to authenticate; None for an open server."""
        shared: dict[str, Any] = {}
        if self.tls is not None:
            shared = {
                "ssl_context": self.tls.context(),
                "tls_hostname": self.tls.hostname,
                "tls_handshake_first": self.tls.handshake_first,
            }
        if self.credentials_file is not None:
            return NatsCredentials.from_file(self.credentials_file, **shared)
        if self.nkey_seed is not None:
            return NatsNKey.from_seed(self.nkey_seed, **shared)
        if self.user is not None:
            return NatsUserPassword(self.user, self.password or "", **shared)
        return NatsSecurity(**shared) if shared else None

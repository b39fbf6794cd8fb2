"""From the section `nats` to the settings of the messaging layer, secrets revealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.messaging.settings import NatsSettings, NatsTls

if TYPE_CHECKING:
    from yaoki.config.model import NatsSection
    from yaoki.config.secrets import Secret


def nats_settings(nats: NatsSection) -> NatsSettings:
    """Settings for `Messaging.connect`.

    Raises:
        FatalError: A secret of this section was not resolved when the file was loaded.
    """
    tls = nats.tls
    return NatsSettings(
        servers=nats.servers,
        prefix=nats.prefix,
        user=nats.user,
        password=_revealed(nats.password),
        nkey_seed=_revealed(nats.nkey),
        credentials_file=nats.credentials,
        inbox_prefix=nats.inbox_prefix,
        tls=None
        if tls is None
        else NatsTls(
            ca_file=tls.ca,
            cert_file=tls.certificate,
            key_file=tls.key,
            hostname=tls.hostname,
            handshake_first=tls.handshake_first,
        ),
        replicas=nats.replicas,
        monitoring_url=nats.monitoring_url,
        require_sync=nats.require_sync,
    )


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()

"""The hands of this service. A new one is a module beside this one and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recovery.adapters.kubernetes import RestartDeployment, ScaleDeployment
from recovery.adapters.pooler import ReconnectPooler
from recovery.adapters.webhook import CallWebhook

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.config.model import RecoverySection
    from yaoki.hands import AnyHand


def recovery_hands(settings: RecoverySection, clock: Clock) -> tuple[AnyHand, ...]:
    """All hands that need no host, with what they may touch."""
    return (
        RestartDeployment(settings.kubernetes, clock),
        ScaleDeployment(settings.kubernetes, settings.applications, clock),
        CallWebhook(settings.webhooks, clock),
        ReconnectPooler(settings.applications),
    )

"""Call an HTTP endpoint that repairs something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Call, Effect

from recovery.actions.kind import NotApplicable
from recovery.hand_steps import HANDS, hand_steps

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class CallWebhook:
    """Parameter: `webhook`, a name in `recovery.webhooks` (default: the application's)."""

    name = "call-webhook"
    impairs_users = False
    disruptive = True

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        application = request.config.recovery.applications.get(request.application)
        name = str(request.param("webhook", (application and application.webhook) or ""))
        webhook = request.config.recovery.webhooks.get(name)
        if webhook is None:
            return NotApplicable("it needs the parameter 'webhook' or an application with one (recovery.webhooks)")
        call = Call(
            worker=HANDS,
            action="webhook.call",
            params={"webhook": name, "target": request.target, "failure": "${run.failure}"},
        )
        steps = hand_steps(self.name, call, request, timeout_s=webhook.timeout + 5.0, effect=Effect(webhook.effect))
        return (Branch(name=self.name, steps=steps, verify=request.check(), verify_timeout_s=30.0),)

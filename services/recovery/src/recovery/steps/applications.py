"""Commands that only the application itself can carry out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import TransientError
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

if TYPE_CHECKING:
    from yaoki.plans import Order
    from yaoki.runs.actions import Handler

    from recovery.ports import Applications, CommandAnswers


class ApplicationSteps:
    """`collect-garbage`, `reset-connection-pools` and `warm-cache`."""

    def __init__(self, applications: Applications) -> None:
        self._applications = applications

    def handlers(self) -> dict[str, Handler]:
        """By action name."""
        return {"application-command": self.application_command}

    async def application_command(self, order: Order) -> ActionResult:
        """Have every instance carry `params.command` out; skipped when none is connected.

        It has succeeded when one of them did: whether that was enough is for the fresh probe to say. The order's
        identity is the command's, so that a repeat is answered and not carried out again.
        """
        application, command = str(order.params["application"]), str(order.params["command"])
        try:
            answers = await self._applications.command(
                application,
                command,
                command_id=order.command_id,
                by=f"run {order.run_id}",
                within_s=float(order.params["within_s"]),
            )
        except TransientError as error:
            raise PreconditionFailedError(f"no instance of {application!r} answers: {error.message}") from error
        if not answers.done:
            raise ActionFailedError(f"no instance of {application!r} carried {command} out: {_why(answers)}")
        return ActionResult(result=msgspec.to_builtins(answers))


def _why(answers: CommandAnswers) -> str:
    said = [f"{instance}: {error}" for instance, error in answers.failed.items()]
    said += [f"{instance} did not answer in time" for instance in answers.silent]
    return "; ".join(said) or "none is connected"

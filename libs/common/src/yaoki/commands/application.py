"""What only an application itself can do: `api.app-<application>.<verb>`, carried out by every instance of it.

The SDK in the application answers (`Yaoki.serve_commands`). Every instance acknowledges in its own name when it has
carried the command out; `Messaging.gather` collects the answers, and so does `nats req --replies 0`.
"""

from typing import Annotated, ClassVar

import msgspec

from yaoki.commands.base import Request
from yaoki.plans import JsonObject


class CommandDone(msgspec.Struct, frozen=True, kw_only=True):
    """One instance has carried the command out.

    Attributes:
        command_id: As in the command; chosen by the instance when that had none.
        instance: Who acknowledges.
        result: What the instance says about it, e.g. `{"collected": 1200}`.
        took_s: How long it took when it was done, seconds.
        repeated: This command was carried out before; nothing was done again.
    """

    command_id: str
    instance: str
    result: JsonObject = {}
    took_s: float = 0.0
    repeated: bool = False


class ApplicationCommand(Request, frozen=True, kw_only=True):
    """What all commands to an application say.

    Attributes:
        by: Who orders it: a person or a run.
        reason: Why.
        command_id: The same id is carried out once by each instance, and a repeat is answered with the first result.
        timeout_s: What is not done by then is cancelled and answered as failed, seconds.
    """

    every_instance: ClassVar[bool] = True
    reply: ClassVar[type[msgspec.Struct]] = CommandDone

    by: Annotated[str, msgspec.Meta(min_length=1)]
    reason: str = ""
    command_id: str = ""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0


class CollectGarbage(ApplicationCommand, frozen=True, kw_only=True):
    """Give back memory that nothing refers to any more."""

    verb: ClassVar[str] = "collect-garbage"


class ResetPools(ApplicationCommand, frozen=True, kw_only=True):
    """Open every pooled connection anew. What is in use may finish until `timeout_s` is over, then it is dropped."""

    verb: ClassVar[str] = "reset-pools"


class WarmCache(ApplicationCommand, frozen=True, kw_only=True):
    """Load into the cache what users will ask for first; each application knows for itself what that is."""

    verb: ClassVar[str] = "warm-cache"


def application_service(application: str) -> str:
    """Under which name the instances of an application answer."""
    return f"app-{application}"

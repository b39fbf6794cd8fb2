"""What every request is."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request: a question, or an order to one service.

    Unlike events, unknown fields are refused: a misspelt option of an order must not be ignored.

    Attributes:
        service: Second-last token of the subject; `agent-*` and workers fill in their own name.
        verb: Last token of the subject.
        reply: The struct that answers.
        durable: The request is also accepted as `cmd.<service>.<verb>` (work queue) and then has no reply.
        every_instance: Every process that serves it answers, not one of them; see `Messaging.gather`.
    """

    service: ClassVar[str] = ""
    verb: ClassVar[str] = ""
    reply: ClassVar[type[msgspec.Struct]]
    durable: ClassVar[bool] = False
    every_instance: ClassVar[bool] = False

"""What a hand is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import msgspec

from yaoki.config.mistakes import one_of
from yaoki.errors import ErrorCode, RejectedError
from yaoki.plans import JsonObject  # noqa: TC001 - msgspec reads the annotation at run time

if TYPE_CHECKING:
    from collections.abc import Collection

P = TypeVar("P", bound=msgspec.Struct)


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What a hand saw before it acts.

    Attributes:
        would: What acting now would do and why, one sentence.
        before: The state that acting changes, e.g. the identity of the process that would be restarted.
        facts: What is worth keeping in the journal besides.
        idle: Why there is nothing to do; an order is skipped then, unless it has happened already.
    """

    would: str
    before: JsonObject = {}
    facts: JsonObject = {}
    idle: str = ""


class Hand(Protocol[P]):
    """One action on real things. A new one is a module and a line in the table of its worker.

    The three methods may be called any number of times and in any order; `act` is cancelled when its order expires.

    Attributes:
        name: As orders spell it, e.g. `systemd.restart`.
        params: What it is ordered with; unknown keys and wrong types are refused before anything is looked at.
    """

    name: str
    params: type[P]

    async def look(self, params: P) -> Sight:
        """See what acting would do; changes nothing.

        Raises:
            RejectedError: It is not on the allow-list.
            PreconditionFailedError: There is nothing to act on, or acting would do harm.
            TransientError: The world does not answer.
        """
        ...

    def happened(self, params: P, before: JsonObject, now: Sight) -> bool | None:
        """Whether an order that began when the world looked like `before` has had its effect. Pure.

        None when nobody can see that; such an order is given again only where its plan says that it may be.
        """
        ...

    async def act(self, params: P, seen: Sight, order_id: str) -> msgspec.Struct:
        """Act, and return when the effect is there.

        Args:
            params: Of the order.
            seen: By a look just before; its `before` is that of the dry run, if the order names it.
            order_id: The same in every repeat.

        Raises:
            ActionFailedError: It was tried and the effect is not there.
            TransientError: The world does not answer; the effect may come.
        """
        ...


AnyHand: TypeAlias = Hand[Any]


def not_allowed(what: str, name: str, known: Collection[str], where: str) -> RejectedError:
    """The refusal of something that is not on an allow-list.

    Args:
        what: `unit`, `container` and the like.
        name: Of the thing that was asked for.
        known: What is allowed.
        where: Key of the configuration that says so.
    """
    return RejectedError(
        f"{what} {name!r} may not be touched; {where} allows {one_of(sorted(known)) or 'none'}",
        code=ErrorCode.NOT_ALLOWED,
    )

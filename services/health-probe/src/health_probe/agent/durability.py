"""Which standbys have to acknowledge a commit, and in what order that may change. Pure decisions.

Invariant: whatever the primary's setting is at a moment, the lease record promises no more than it keeps. A promise of
k among n members lets a coordinator promote when it sees n - k + 1 of them; so a record is changed *before* the
setting when it promises less, and *after* it, once the standbys have caught up, when it promises more.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection


class Quorum(msgspec.Struct, frozen=True):
    """`required` of `names` acknowledge every commit. Names are sorted; 0 of () is asynchronous."""

    names: tuple[str, ...] = ()
    required: int = 0


ASYNCHRONOUS = Quorum()


class Change(StrEnum):
    """One step of a transition: the setting of PostgreSQL, the promise in the record, or no promise at all."""

    SETTING = "setting"
    PROMISE = "promise"
    NO_PROMISE = "no-promise"


def wanted_quorum(configured: int, streaming: Collection[str]) -> Quorum:
    """What is right now that `streaming` follow the primary: as many as configured, or all there are."""
    required = min(configured, len(streaming))
    return Quorum(tuple(sorted(streaming)), required) if required else ASYNCHRONOUS


def covers(setting: Quorum, promise: Quorum) -> bool:
    """Whether every commit acknowledged under `setting` is on `promise.required` of the promised members.

    In the worst case all members outside the promise acknowledge first.
    """
    if not promise.required:
        return True
    outside = len(set(setting.names) - set(promise.names))
    return setting.required - outside >= promise.required


def transition(setting: Quorum, promise: Quorum, wanted: Quorum) -> tuple[Change, ...]:
    """The steps to `wanted` for both, so that the promise is kept after each of them.

    Args:
        setting: What PostgreSQL has now.
        promise: What the record says now.
        wanted: What both shall say.
    """
    if setting == wanted:
        return () if promise == wanted else (Change.PROMISE,)
    if covers(setting, wanted) and covers(setting, promise):
        return (Change.PROMISE, Change.SETTING)
    if covers(wanted, promise):
        return (Change.SETTING, Change.PROMISE)
    return (Change.NO_PROMISE, Change.SETTING, Change.PROMISE)


def setting_text(quorum: Quorum) -> str:
    """The value of `synchronous_standby_names`."""
    if not quorum.required:
        return ""
    listed = ", ".join(f'"{name}"' for name in quorum.names)
    return f"ANY {quorum.required} ({listed})"


def parse_setting(text: str) -> Quorum:
    """The quorum that `setting_text` wrote; anything else reads as asynchronous, which promises nothing."""
    head, _, rest = text.strip().partition("(")
    words = head.split()
    if len(words) != len(("ANY", "k")) or words[0] != "ANY" or not words[1].isdigit() or not rest.endswith(")"):
        return ASYNCHRONOUS
    names = tuple(sorted(name.strip().strip('"') for name in rest[:-1].split(",")))
    return Quorum(names, int(words[1]))


class Membership(msgspec.Struct, frozen=True):
    """Who streams, with since when those that are missing have been missing (CLOCK_BOOTTIME)."""

    missing_since: dict[str, float] = {}


def observe(before: Membership, expected: Collection[str], streaming: Collection[str], now: float) -> Membership:
    """Note who of `expected` is missing at `now`."""
    return Membership({name: before.missing_since.get(name, now) for name in expected if name not in streaming})


def present(
    membership: Membership, setting: Quorum, streaming: Collection[str], *, grace_s: float, now: float
) -> frozenset[str]:
    """Those to count on: who streams, and who is in the setting and has been missing for less than `grace_s`.

    Without the grace a standby that restarts would make the primary give up durability at once.
    """
    briefly = {name for name in setting.names if now - membership.missing_since.get(name, now) < grace_s}
    return frozenset(streaming) | frozenset(briefly)

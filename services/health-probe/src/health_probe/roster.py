"""Which probers are alive, as far as one of them can tell: pure.

A prober is alive while it renews its lease. Nobody's clock is compared with another's: I count a prober as gone when I
have seen a renewal of my *own* that I sent more than `ttl_s` after the other's last one came to me. Both came through
the same stream in its order, so that silence of the stream, or of my connection, ends nobody's lease.

Invariants, against the one who watches the same rule from the other side:

- whoever renews at least every `ttl_s` is never counted as gone;
- a prober whose renewals do not arrive stops speaking `ttl_s` less a margin after it *sent* its last successful one,
  which is before anybody counts it as gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from health_probe.rendezvous import chosen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SPEAKING_SHARE: Final = 0.8
"""Of the ttl, after which a prober without a renewal stops speaking."""


class Member(msgspec.Struct, frozen=True, order=True):
    """One prober.

    Attributes:
        name: Its instance, unique within the vantage.
    """

    vantage: str
    name: str


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """What one prober has seen of all of them, on its own monotonic clock.

    Attributes:
        horizon: When the newest own renewal was sent that has come back through the stream.
        heard: When the last renewal of each other prober came.
    """

    horizon: float
    heard: dict[Member, float] = {}

    def renewed(self, member: Member, at: float) -> Signs:
        """With a renewal of another prober that came at `at`."""
        return msgspec.structs.replace(self, heard=self.heard | {member: at})

    def gone(self, member: Member) -> Signs:
        """Without a prober that has left, or whose lease has lapsed."""
        return msgspec.structs.replace(self, heard={one: at for one, at in self.heard.items() if one != member})

    def own(self, sent: float) -> Signs:
        """With an own renewal that has come back, sent at `sent`."""
        return msgspec.structs.replace(self, horizon=max(self.horizon, sent))

    def after_a_gap(self, now: float) -> Signs:
        """After this prober could not renew for a time: everybody gets a whole lease to be heard again."""
        return msgspec.structs.replace(self, heard=dict.fromkeys(self.heard, now))

    def alive(self, ttl_s: float) -> frozenset[Member]:
        """The others that are not counted as gone."""
        return frozenset(member for member, at in self.heard.items() if self.horizon - at <= ttl_s)


class Roster(msgspec.Struct, frozen=True):
    """The probers that are alive."""

    members: frozenset[Member] = frozenset()

    def owner(self, target: str, vantage: str) -> Member | None:
        """Who watches `target` from `vantage`."""
        names = [member.name for member in self.members if member.vantage == vantage]
        name = chosen(target, names)
        return None if name is None else Member(vantage, name)

    def owners(self, target: str, vantages: Sequence[str]) -> list[Member]:
        """Who watches `target`, one for each of its vantages that has anybody."""
        found = [self.owner(target, vantage) for vantage in vantages]
        return [member for member in found if member is not None]

    def judge(self, target: str, vantages: Sequence[str]) -> Member | None:
        """Who tells the verdict about `target`: one of its owners, who sees it anyway.

        When nobody watches it any more, anybody: what was last seen must not stand for ever.
        """
        candidates = self.owners(target, vantages) or self.members
        owners = {f"{member.vantage}/{member.name}": member for member in candidates}
        name = chosen(target, owners)
        return None if name is None else owners[name]

    def owned(self, me: Member, vantages: Mapping[str, Sequence[str]]) -> frozenset[str]:
        """Targets that `me` watches."""
        mine = (target for target, places in vantages.items() if me.vantage in places)
        return frozenset(target for target in mine if self.owner(target, me.vantage) == me)

    def presided(self, me: Member, vantages: Mapping[str, Sequence[str]]) -> frozenset[str]:
        """Targets that `me` judges."""
        return frozenset(target for target, places in vantages.items() if self.judge(target, places) == me)

    def checker(self, target: str, vantages: Sequence[str], me: Member) -> Member | None:
        """Who answers a question about `target`: at best somebody who does not watch it, else preferably me."""
        watching = self.owners(target, vantages)
        others = sorted(member for member in self.members if member.vantage in vantages and member not in watching)
        if me in others:
            return me
        if others:
            name = chosen(target, [f"{member.vantage}/{member.name}" for member in others])
            return next(member for member in others if f"{member.vantage}/{member.name}" == name)
        if me in watching or not watching:
            return me if me.vantage in vantages else None
        return watching[0]

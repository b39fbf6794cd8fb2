"""Whether it is us and not them: most targets turn bad at once while NATS, a further witness, is out of reach. Pure.

While NATS is out of reach nobody can be told anything, so waiting costs nothing; and the more targets turn bad in the
same moment, the likelier is the one cause that they share: the prober's own machine or its network.

Invariants:

- while NATS answers nothing is ever withheld, however many targets fail: that may be a true disaster;
- a target that failed before, or has never been seen well, is no witness;
- fewer than `least` witnesses prove nothing.
"""

from __future__ import annotations

import msgspec


class CrowdLimits(msgspec.Struct, frozen=True, kw_only=True):
    """When many is too many.

    Attributes:
        share: Above this share of the witnesses.
        least: How many witnesses it takes.
        before_s: What turned bad so shortly before NATS was last heard of counts as having done so with it.
    """

    share: float = 0.5
    least: int = 3
    before_s: float = 10.0


class Crowd:
    """Remembers which targets turned bad together with NATS.

    Args:
        limits: When many is too many.
    """

    def __init__(self, limits: CrowdLimits) -> None:
        self._limits = limits
        self._bad_since: dict[str, float | None] = {}
        self._heard_at: float | None = None
        self._away = False
        self._witnesses: set[str] = set()
        self._turned: set[str] = set()

    def nats(self, now: float, *, reachable: bool) -> None:
        """Whether NATS has answered just now."""
        if reachable:
            self._heard_at, self._away = now, False
            self._witnesses.clear()
            self._turned.clear()
        elif not self._away:
            self._away = True
            self._turned = {target for target, since in self._bad_since.items() if self._with_nats(since)}
            self._witnesses = set(self._turned)

    def result(self, target: str, now: float, *, bad: bool) -> None:
        """What a target gave, believed or not."""
        if not bad:
            self._bad_since[target] = None
        elif target not in self._bad_since:
            return  # it has never been well; that it is not now proves nothing
        elif self._bad_since[target] is None:
            self._bad_since[target] = now
        if self._away and (not bad or self._with_nats(self._bad_since[target])):
            self._witnesses.add(target)
            (self._turned.add if bad else self._turned.discard)(target)

    @property
    def problem(self) -> str | None:
        """The sentence that says why the prober is taken for the cause; None while it is not."""
        turned, witnesses = len(self._turned), len(self._witnesses)
        if not self._away or witnesses < self._limits.least or turned <= self._limits.share * witnesses:
            return None
        return f"NATS is out of reach, and {turned} of {witnesses} targets turned bad with it"

    def _with_nats(self, bad_since: float | None) -> bool:
        if bad_since is None:
            return False
        return self._heard_at is None or bad_since >= self._heard_at - self._limits.before_s

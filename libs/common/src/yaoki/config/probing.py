"""How a prober judges: itself, and targets that cannot make up their mind."""

from typing import Annotated

import msgspec

from yaoki.config.base import Section
from yaoki.config.forms import Address, Duration, PositiveDuration

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class FlappingSettings(Section, frozen=True, kw_only=True):
    """When a target counts as flapping: too many of its newest results differ from the one before.

    Attributes:
        results: How many of the newest results are looked at.
        start: Above this share of changes it begins to flap; 1 turns it off.
        stop: Below this share it ends.
    """

    results: Annotated[int, msgspec.Meta(ge=4, le=100)] = 20
    start: Share = 0.3
    stop: Share = 0.2


class SelfCheckSettings(Section, frozen=True, kw_only=True):
    """When a prober does not trust itself; what it sees meanwhile counts as unknown.

    Attributes:
        loop_lag: It stood still for longer than this.
        clock_jump: Its clock jumped by more than this.
        settle: For how long after the last sign it still gives no verdict.
        references: Addresses of which one has to be reachable over TCP; a refused connection counts as reached.
            Left out, its own default route and the connection to NATS are what it looks at.
        crowd: While NATS is out of reach: above this share of targets that turned bad together, the prober itself is
            taken for the cause; 1 turns it off.
        crowd_targets: That many targets have to have been probed since then.
    """

    loop_lag: PositiveDuration = 2.0
    clock_jump: PositiveDuration = 2.0
    settle: Duration = 10.0
    references: tuple[Address, ...] = ()
    crowd: Share = 0.5
    crowd_targets: Annotated[int, msgspec.Meta(ge=2)] = 3

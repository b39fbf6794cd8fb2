"""How an executor goes about its runs."""

from __future__ import annotations

import msgspec

from yaoki.runs.carrier import Patience


class ExecutorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times of an executor.

    Attributes:
        look_s: How often it looks for runs whose driver is gone, seconds.
        poll_s: How often a driven run's lease is renewed and its journal read, seconds; a third of the leases' ttl.
        grace_s: How long `stop` waits for orders that are under way, seconds.
        patience: With workers.
    """

    look_s: float = 0.5
    poll_s: float = 1.0
    grace_s: float = 5.0
    patience: Patience = Patience()

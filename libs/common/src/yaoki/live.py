"""What is said on `live.*`: core NATS, not stored, lost for whoever is not listening."""

from datetime import datetime
from typing import Annotated, Final

import msgspec

from yaoki.latency import HIGHEST

REQUESTS: Final = "requests"
"""`live.requests.<application>` carries `RequestsObserved`."""

CHECK_IN: Final = "check-in"
"""`live.check-in.<target>` carries `CheckInSignal`, or nothing."""

Count = Annotated[int, msgspec.Meta(ge=0)]
Bucket = Annotated[int, msgspec.Meta(ge=0, le=HIGHEST)]


class RequestsObserved(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of an application answered during one period; the sum over processes and periods is exact.

    Attributes:
        application: Its name.
        instance: The process.
        at: End of the period, UTC.
        period_s: Its length. A process that answers nothing reports as well: silence is not "no errors".
        requests: How many were answered.
        errors: How many of them failed by the server's fault (HTTP: 500 and above).
        total_ms: All their durations together, milliseconds.
        buckets: How many by duration; see `yaoki.latency`.
    """

    application: str
    instance: str
    at: datetime
    period_s: Annotated[float, msgspec.Meta(gt=0, le=3600)]
    requests: Count = 0
    errors: Count = 0
    total_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    buckets: dict[Bucket, Count] = {}


class CheckInSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A check-in that nobody acknowledges; the request `api.probe.check-in` is acknowledged.

    Attributes:
        token: Where the target asks for one.
    """

    token: str | None = None

"""One HTTP/1.1 request on a connection of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from health_probe.adapters.http_session import open_session
from health_probe.adapters.trust import trusting, trusting_anyone

if TYPE_CHECKING:
    from health_probe.adapters.http_session import Answer
    from health_probe.adapters.network import Network
    from health_probe.attempt import Phases

_HEADERS: Final = {"Accept": "*/*", "Connection": "close"}


async def fetch(network: Network, phases: Phases, url: str, *, method: str = "GET", verify_tls: bool = True) -> Answer:
    """Send one request and read the whole answer, in the phases `request`, `response` and `body`.

    The connection is always a new one. One that is kept open goes on answering after the listener has died, its queue
    has filled up, the name has moved or the certificate has expired; its users would find out and the probe would not.

    Raises:
        ProbeFailedError: Class `protocol`, for what is not HTTP/1 or too large.
    """
    place = urlsplit(url)
    tls = (trusting(None) if verify_tls else trusting_anyone()) if place.scheme == "https" else None
    target = (place.path or "/") + (f"?{place.query}" if place.query else "")
    async with open_session(network, phases, url, tls=tls) as session:
        return await session.send(phases, None, method, target, headers=_HEADERS)

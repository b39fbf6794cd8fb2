"""One instant query to the Prometheus HTTP API."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import msgspec
from yaoki.events.probe import ErrorClass

from health_probe.adapters.http_session import open_session
from health_probe.attempt import ProbeFailedError, presentable

if TYPE_CHECKING:
    import ssl

    from health_probe.adapters.network import Network
    from health_probe.attempt import Phases


class _Series(msgspec.Struct, frozen=True):
    value: tuple[float, str]


class _Data(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    result_type: str = ""
    result: msgspec.Raw = msgspec.Raw(b"[]")


class _Reply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    status: str
    error: str = ""
    data: _Data = _Data()


async def query(
    network: Network, phases: Phases, url: str, text: str, *, token: str | None, tls: ssl.SSLContext | None
) -> list[float]:
    """The values of all series that the query answers; what is not a number is left out.

    Raises:
        ProbeFailedError: Nothing usable was answered.
    """
    target = f"{urlsplit(url).path.rstrip('/')}/api/v1/query?query={quote(text, safe='')}"
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    async with open_session(network, phases, url, tls=tls) as session:
        answer = await session.send(phases, "query", "GET", target, headers=headers)
    if answer.status in (401, 403):
        raise ProbeFailedError(ErrorClass.AUTH, f"Prometheus answered {answer.status}: it wants another token")
    try:
        reply = msgspec.json.decode(answer.body, type=_Reply)
        if reply.status != "success":
            raise ProbeFailedError(ErrorClass.PROTOCOL, f"Prometheus answered: {presentable(reply.error, token or '')}")
        return [number for number in _numbers(reply.data) if not math.isnan(number)]
    except (msgspec.MsgspecError, ValueError) as exc:
        sentence = f"the answer ({answer.status}) is none of the Prometheus API"
        raise ProbeFailedError(ErrorClass.PROTOCOL, sentence) from exc


def _numbers(data: _Data) -> list[float]:
    if data.result_type == "scalar":
        return [float(msgspec.json.decode(data.result, type=tuple[float, str])[1])]
    if data.result_type != "vector":
        sentence = f"the query answers a {presentable(data.result_type) or 'nothing'}, expected a vector or a scalar"
        raise ProbeFailedError(ErrorClass.PROTOCOL, sentence)
    return [float(series.value[1]) for series in msgspec.json.decode(data.result, type=list[_Series])]

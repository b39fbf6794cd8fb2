"""The load of applications, out of Prometheus."""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
from yaoki.errors import RejectedError, TransientError

from recovery.scaling import Load

if TYPE_CHECKING:
    from yaoki.config.applications import LoadQueries

_ANSWER_S: Final = 5.0


class PrometheusLoad:
    """See `recovery.ports.LoadReadings`. Each query has to answer one number; none is unknown."""

    async def read(self, queries: LoadQueries) -> Load:
        """See `LoadReadings.read`."""
        verify = queries.prometheus.startswith("https:")  # reading the system's authorities takes time
        async with httpx.AsyncClient(
            base_url=queries.prometheus.rstrip("/"), timeout=_ANSWER_S, verify=verify, trust_env=False
        ) as client:
            cpu, requests = await asyncio.gather(_number(client, queries.cpu), _number(client, queries.requests))
        return Load(cpu_percent=cpu, requests_per_minute=requests)


async def _number(client: httpx.AsyncClient, query: str) -> float | None:
    try:
        answer = await client.get("/api/v1/query", params={"query": query})
    except (httpx.HTTPError, OSError) as error:
        raise TransientError(f"Prometheus at {client.base_url}: {str(error) or type(error).__name__}") from error
    if answer.status_code == HTTPStatus.BAD_REQUEST:
        raise RejectedError(f"Prometheus at {client.base_url} does not take the query {query!r}: {answer.text[:300]}")
    if not answer.is_success:
        raise TransientError(f"Prometheus at {client.base_url} answers {answer.status_code}")
    return _value(answer.content, query)


def _value(body: bytes, query: str) -> float | None:
    """The number of a scalar or of a vector with one sample; None when there is none, or it is none."""
    try:
        data: Any = msgspec.json.decode(body)["data"]
        found = [data["result"]] if data["resultType"] == "scalar" else [one["value"] for one in data["result"]]
        numbers = [float(text) for _, text in found]
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise TransientError(f"the answer to {query!r} is not as Prometheus documents it") from error
    if len(numbers) > 1:
        raise RejectedError(f"{query!r} answers {len(numbers)} series, expected one; aggregate it with avg() or sum()")
    return numbers[0] if numbers and math.isfinite(numbers[0]) and numbers[0] >= 0 else None

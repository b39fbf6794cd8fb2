"""The kind `metric`: Prometheus queries, and what applications report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from health_probe.probes.metric import Comparison, Measure, MetricTarget, QueryCheck, TrafficCheck
from health_probe.traffic import Report, TrafficBook, summarise
from hypothesis import given
from hypothesis import strategies as st
from yaoki.events.probe import ErrorClass, ProbeStatus
from yaoki.live import RequestsObserved

if TYPE_CHECKING:
    import asyncio

    from health_probe.adapters.network import Network

QUERY = 'sum(rate(http_requests_total{code=~"5.."}[5m])) / sum(rate(http_requests_total[5m]))'
TOKEN = "correct-horse-battery-staple"
WINDOW_S = 300.0

# As Prometheus 2.53 and 3.5 answered them.
VECTOR = b'{"status":"success","data":{"resultType":"vector","result":[%s]}}'
SERIES = b'{"metric":{"job":"orders"},"value":[1735689600.123,"%s"]}'
SCALAR = b'{"status":"success","data":{"resultType":"scalar","result":[1735689600.123,"%s"]}}'
BAD_QUERY = b'{"status":"error","errorType":"bad_data","error":"invalid parameter \\"query\\": 1:1: parse error"}'


def prometheus(body: bytes, status: int = 200, asked: list[str] | None = None) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if asked is not None:
            asked.append(head)
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        await reader.read()

    return answer


def asking(network: Network, port: int, token: str | None = None, **settings: Any) -> QueryCheck:
    target = MetricTarget(prometheus=f"http://127.0.0.1:{port}/prom/", query=QUERY, **settings)
    return QueryCheck(network=network, target=target, token=token)


@pytest.mark.parametrize(
    ("body", "settings", "status"),
    [
        (VECTOR % SERIES % b"0.02", {}, ProbeStatus.HEALTHY),
        (VECTOR % SERIES % b"0.10", {}, ProbeStatus.HEALTHY),
        (VECTOR % SERIES % b"0.11", {}, ProbeStatus.UNHEALTHY),
        (VECTOR % (SERIES % b"0.01" + b"," + SERIES % b"0.5"), {}, ProbeStatus.UNHEALTHY),
        (SCALAR % b"3", {"limit": 5.0}, ProbeStatus.HEALTHY),
        (SCALAR % b"3", {"limit": 5.0, "comparison": Comparison.BELOW}, ProbeStatus.UNHEALTHY),
        (VECTOR % SERIES % b"+Inf", {"limit": 5.0}, ProbeStatus.UNHEALTHY),
    ],
    ids=["below", "equal", "above", "worst-of-two", "scalar", "comparison-below", "infinite"],
)
async def test_the_value_decides(  # noqa: PLR0917 - fixtures
    body: bytes, settings: dict[str, Any], status: ProbeStatus, network: Network, run: Any, listening: Any
) -> None:
    async with listening(prometheus(body)) as port:
        result = await run(asking(network, port, **settings))

    assert result.status is status, result


async def test_the_query_arrives_as_it_was_written(network: Network, run: Any, listening: Any) -> None:
    asked: list[str] = []
    async with listening(prometheus(SCALAR % b"0", asked=asked)) as port:
        await run(asking(network, port, token=TOKEN))

    request, *headers = asked[0].splitlines()
    target = urlsplit(request.split()[1])
    assert (target.path, parse_qs(target.query)) == ("/prom/api/v1/query", {"query": [QUERY]})
    assert f"Authorization: Bearer {TOKEN}" in headers


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, VECTOR % b"", "no such series"),
        (200, VECTOR % SERIES % b"NaN", "no such series"),
        (400, BAD_QUERY, "parse error"),
        (401, b"", "another token"),
        (502, b"<html>bad gateway</html>", "none of the Prometheus API"),
        (200, b'{"status":"success","data":{"resultType":"matrix","result":[]}}', "a matrix"),
        (200, b'{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"many"]}]}}', "none of the"),
    ],
    ids=["absent", "no-traffic", "bad-query", "token", "gateway", "matrix", "no-number"],
)
async def test_without_a_value_there_is_no_verdict(  # noqa: PLR0917 - fixtures
    status: int, body: bytes, words: str, network: Network, run: Any, listening: Any
) -> None:
    async with listening(prometheus(body, status)) as port:
        result = await run(asking(network, port, token=TOKEN))

    assert (result.status, result.error_class) == (ProbeStatus.UNKNOWN, ErrorClass.LOCAL), result
    assert words in result.detail
    assert TOKEN not in repr(result)


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_prometheus_that_is_away_or_hangs_is_no_failure_of_the_target(
    network: Network, run: Any, run_out: Any, listening: Any
) -> None:
    async with listening(silent) as port:
        hanging = await run_out(asking(network, port), lambda result: result.phase == "query")
    away = await run(asking(network, port))

    assert (hanging.status, hanging.phase) == (ProbeStatus.UNKNOWN, "query")
    assert (away.status, away.phase) == (ProbeStatus.UNKNOWN, "connect")


def observed(requests: int, errors: int = 0, mean_ms: float = 10.0, period_s: float = 10.0) -> RequestsObserved:
    return RequestsObserved(
        application="orders",
        instance="orders-1",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        period_s=period_s,
        requests=requests,
        errors=errors,
        total_ms=requests * mean_ms,
        buckets={10: requests},
    )


async def judged(run: Any, clock: Any, reports: list[RequestsObserved], measure: Measure = Measure.ERROR_RATE) -> Any:
    """The verdict after these reports, one each 10 s."""
    book = TrafficBook()
    book.expect("orders", WINDOW_S)
    target = MetricTarget(application="orders", measure=measure)
    for report in reports:
        clock.forward(10.0)
        book.take("orders", Report(heard_at=clock.monotonic(), observed=report))
    return await run(TrafficCheck(book=book, target=target, clock=clock))


@pytest.mark.parametrize(
    ("reports", "measure", "status"),
    [
        ([observed(100, 10)] * 30, Measure.ERROR_RATE, ProbeStatus.HEALTHY),
        ([observed(100, 11)] * 30, Measure.ERROR_RATE, ProbeStatus.UNHEALTHY),
        ([observed(100, 0, 2000.0)] * 30, Measure.RESPONSE_TIME, ProbeStatus.HEALTHY),
        ([observed(100, 0, 2001.0)] * 30, Measure.RESPONSE_TIME, ProbeStatus.UNHEALTHY),
        ([observed(0)] * 29 + [observed(10, 10)], Measure.ERROR_RATE, ProbeStatus.HEALTHY),
        ([observed(100, 50)] * 5, Measure.ERROR_RATE, ProbeStatus.UNKNOWN),
        ([], Measure.ERROR_RATE, ProbeStatus.UNKNOWN),
    ],
    ids=["errors", "many-errors", "slow", "too-slow", "few-requests", "window-not-covered", "nobody-reports"],
)
async def test_the_reports_of_a_window_decide(
    reports: list[RequestsObserved], measure: Measure, status: ProbeStatus, run: Any, clock: Any
) -> None:
    result = await judged(run, clock, reports, measure)

    assert result.status is status, result


async def test_the_sentence_says_what_and_how_much(run: Any, clock: Any) -> None:
    result = await judged(run, clock, [observed(100, 25)] * 30)

    assert result.detail == "error rate 25.0% over 5m, at most error rate 10.0%"
    assert (result.facts["requests"], result.facts["errors"], result.facts["p95_ms"]) == (3000, 750, 6.2)


reports = st.lists(
    st.builds(
        Report,
        heard_at=st.floats(0, 900),
        observed=st.builds(observed, st.integers(0, 1000), st.integers(0, 1000), period_s=st.floats(0.1, 60)),
    ),
    max_size=30,
)


@given(reports, reports)
def test_reports_of_several_processes_add_up(some: list[Report], more: list[Report]) -> None:
    one, other, both = (summarise(list_, now=600.0, length_s=WINDOW_S) for list_ in (some, more, some + more))

    assert both.requests == one.requests + other.requests
    assert 0.0 <= both.error_rate <= 1.0
    assert max(one.covered_s, other.covered_s) - 1e-6 <= both.covered_s <= WINDOW_S + 1e-6
    assert both.covered_s <= one.covered_s + other.covered_s + 1e-6


def test_only_what_somebody_asks_for_is_kept() -> None:
    book = TrafficBook()
    book.expect("orders", WINDOW_S)
    for second in range(0, 6000, 10):
        book.take("orders", Report(heard_at=float(second), observed=observed(1)))
        book.take("unknown", Report(heard_at=float(second), observed=observed(1)))

    assert book.within("orders", now=5990.0, length_s=WINDOW_S).requests == 30
    assert book.within("unknown", now=5990.0, length_s=WINDOW_S).reports == 0
    assert sum(len(kept) for kept in book._reports.values()) == 30  # noqa: SLF001 - that it does not grow is what is tested

"""What the prober answers: over NATS, over HTTP, to signals and to a wrong command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from yaoki.commands.probe import CheckReply, CheckTarget, ListTargets, TargetHealth
from yaoki.epoch import Epoch
from yaoki.errors import ErrorCode, RejectedError, TransientError
from yaoki.events.probe import ProbeStatus
from yaoki.flags import Endpoint, Route, RouteState, route_key
from yaoki.testing import eventually, patient
from yaoki_devstack.redis import RedisServer

if TYPE_CHECKING:
    from .conftest import ProbedSystem

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


def cache(port: int, **more: Any) -> dict[str, Any]:
    return {"kind": "redis", "host": "127.0.0.1", "port": port, "password": "env:YAOKI_TEST_SECRET", **more}


async def checked(system: ProbedSystem, target: str, status: ProbeStatus) -> CheckReply:
    """The answer to one question, if it says that; a prober that has just stood still says nothing for a while."""
    try:
        reply: CheckReply = await system.messaging.request(CheckTarget(target=target))
    except TransientError as exc:
        raise AssertionError(exc.message) from exc
    assert reply.result.status is status, reply
    return reply


async def test_check_probes_now_and_leaves_the_state_alone(system: ProbedSystem, redis_server: RedisServer) -> None:
    """Between two scheduled probes a day apart many checks fail, and nothing is suspected."""
    system.configure({"cache": cache(redis_server.port, interval="24h"), "other": cache(redis_server.port)})
    await system.start(("other", "healthy"))
    first = await eventually(lambda: checked(system, "cache", ProbeStatus.HEALTHY), within=20.0)
    await redis_server.kill()

    for _ in range(5):
        await eventually(lambda: checked(system, "cache", ProbeStatus.UNHEALTHY), within=20.0)

    assert first is not None
    assert first.health is None
    assert await system.view("cache") is None
    await system.wait_state("other", "failed")
    assert await system.told("cache") == []


async def test_list_says_what_is_known(system: ProbedSystem, redis_server: RedisServer) -> None:
    system.configure({"cache-b": cache(redis_server.port), "cache-a": cache(redis_server.port)})
    await system.start(("cache-a", "healthy"), ("cache-b", "healthy"))

    reply = await system.messaging.request(ListTargets())

    assert [(view.target, view.state) for view in reply.targets] == [("cache-a", "healthy"), ("cache-b", "healthy")]


WRONG = [
    (b'{"target": "orders-cach"}', "404", "closest names: orders-cache"),
    (b'{"target": "orders-cache", "timeout_s": 0}', "400", "expected more than 0 and at most 60"),
    (b'{"target": "orders-cache", "timeot_s": 1}', "400", "timeot_s"),
    (b'{"target": 7}', "400", "target"),
    (b"{}", "400", "target"),
    (b"\xff\xfe", "400", ""),
    (b"", "400", ""),
]


async def test_wrong_requests_get_a_sentence_that_helps(system: ProbedSystem, redis_server: RedisServer) -> None:
    system.configure({"orders-cache": cache(redis_server.port)})
    await system.start(("orders-cache", "healthy"))

    for body, code, sentence in WRONG:
        reply = await system.messaging.client.request("yaoki.api.probe.check", body, timeout=patient(5.0))

        assert reply.headers is not None, body
        assert reply.headers["Nats-Service-Error-Code"] == code, body
        assert sentence in reply.headers["Nats-Service-Error"], body
    await eventually(lambda: checked(system, "orders-cache", ProbeStatus.HEALTHY), within=20.0)

    with pytest.raises(RejectedError, match="orders-cache") as caught:
        await system.messaging.request(CheckTarget(target="orders-chache"))

    assert caught.value.code is ErrorCode.NOT_FOUND


async def test_results_are_shown_live(system: ProbedSystem, redis_server: RedisServer) -> None:
    system.configure({"cache": cache(redis_server.port)})
    feed = await system.messaging.client.subscribe("yaoki.live.probe.cache")
    await system.start(("cache", "healthy"))

    shown = [msgspec.json.decode((await feed.next_msg(timeout=patient(10))).data, type=TargetHealth) for _ in range(3)]

    assert [view.last.status for view in shown] == [ProbeStatus.HEALTHY] * 3
    assert b"untold" not in msgspec.json.encode(shown[0])


async def test_the_pages(system: ProbedSystem, redis_server: RedisServer) -> None:
    """An external outage degrades the whole; an internal one makes it 503."""
    async with RedisServer(name="theirs") as theirs:
        system.configure({"ours": cache(redis_server.port), "theirs": cache(theirs.port, scope="external")})
        await system.start(("ours", "healthy"), ("theirs", "healthy"))
        well = await page_of(system, "healthy")
        await theirs.kill()
        await system.wait_state("theirs", "failed")
        degraded = await page_of(system, "degraded")
    await redis_server.kill()
    await system.wait_state("ours", "failed")
    broken = await page_of(system, "unhealthy")

    assert [page.status_code for page in (well, degraded, broken)] == [200, 200, 503]
    assert set(well.json()["components"]) >= {"database", "redis", "external_services", "file_system", "memory"}
    assert well.json()["components"]["redis"]["response_ms"] > 0
    assert well.json()["components"]["file_system"]["response_ms"] > 0
    assert (await system.get("/health")).json() == {"status": "alive"}
    await eventually(lambda: is_ready(system), within=60.0)
    metrics = (await system.get("/metrics")).text
    assert 'yaoki_probe_targets{state="failed"} 2.0' in metrics
    assert 'yaoki_probe_results_total{error_class="refused",kind="redis",status="unhealthy"}' in metrics


async def page_of(system: ProbedSystem, status: str) -> httpx.Response:
    """The page, as soon as it says that of the whole."""

    async def says() -> httpx.Response:
        page = await system.get("/health/detailed")
        assert page.json()["status"] == status, page.text
        return page

    page = await eventually(says, within=60.0)
    assert page is not None
    return page


async def is_ready(system: ProbedSystem) -> bool:
    return (await system.get("/ready")).status_code == 200


async def test_probes_follow_the_published_route(system: ProbedSystem) -> None:
    """Configured members only until the first publication; the last primary while the route is cut."""
    async with RedisServer(name="redis1") as first, RedisServer(name="redis2", replica_of=first) as second:
        members = {
            server.name: {"agent": server.name, "host": server.host, "port": server.port} for server in (second, first)
        }
        system.configure(
            {"cache": {"kind": "redis", "group": "cache", "password": "env:YAOKI_TEST_SECRET"}},
            redis_groups={"cache": {"password": "env:YAOKI_TEST_SECRET", "members": members}},
            agents={server.name: agent(server) for server in (first, second)},
        )
        await system.start(("cache", "healthy"))
        assert await probed(system) == "redis1"

        await publish(system, second, RouteState.SERVING, 1)
        failed = await system.wait_state("cache", "failed")
        assert "redis2 answers at the master's address but is a replica" in failed.last.detail
        await publish(system, second, RouteState.CUT, 2)
        await second.cli("REPLICAOF", "NO", "ONE")
        await system.wait_state("cache", "healthy")
        assert await probed(system) == "redis2"

        await publish(system, first, RouteState.SERVING, 3)

        async def moved_back() -> bool:
            return await probed(system) == "redis1"

        await eventually(moved_back, within=20.0)


async def probed(system: ProbedSystem) -> object:
    view = await system.view("cache")
    assert view is not None
    return view.last.facts.get("member")


async def publish(system: ProbedSystem, server: RedisServer, state: RouteState, counter: int) -> None:
    route = Route(
        cluster="cache",
        state=state,
        epoch=Epoch(1, counter),
        primary=Endpoint(member=server.name, host=server.host, port=server.port),
        since=datetime.now(UTC),
    )
    await system.messaging.kv("flags").put(route_key("cache"), msgspec.json.encode(route))


def agent(server: RedisServer) -> dict[str, Any]:
    return {
        "guards": "redis",
        "group": "cache",
        "member": server.name,
        "data_directory": str(server.data_dir),
        "state_directory": f"/tmp/state-{server.name}",  # noqa: S108 - no agent runs here
        "binary": str(server.argv[0]),
    }


async def test_sigterm_ends_it_gracefully(system: ProbedSystem, redis_server: RedisServer) -> None:
    system.configure({"cache": cache(redis_server.port)})
    await system.start(("cache", "healthy"))

    assert await system.processes.stop("prober-1", within=60.0) == 0, system.log
    assert "Traceback" not in system.log


async def test_sigterm_ends_it_while_it_waits_for_nats(system: ProbedSystem, redis_server: RedisServer) -> None:
    system.configure({"cache": cache(redis_server.port)})
    await system.nats.kill()
    system.launch()

    async def is_alive_and_not_ready() -> bool:
        alive, ready = await system.get("/health"), await system.get("/ready")
        return alive.status_code == 200 and ready.status_code == 503

    await eventually(lambda: _reachable(is_alive_and_not_ready), within=20.0)

    assert await system.processes.stop("prober-1", within=60.0) == 0, system.log


async def _reachable(condition: Any) -> bool:
    try:
        return bool(await condition())
    except httpx.TransportError as exc:
        raise AssertionError(str(exc)) from exc


async def test_a_wrong_configuration_starts_nothing(system: ProbedSystem) -> None:
    system.configure({"cache": {"kind": "redis", "prot": 6379}, "web": {"kind": "htp"}})
    system.launch()

    await eventually(lambda: not system.processes.running("prober-1"), within=20.0)

    assert system.processes.exit_status("prober-1") == 2
    assert "targets.cache" in system.log
    assert "targets.web.kind" in system.log

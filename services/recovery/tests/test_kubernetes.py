"""Deployments are restarted and scaled through the Kubernetes API, spoken by a real HTTP server."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from recovery.adapters.kubernetes import ORDER, SCALED_AT, RestartDeployment, ScaleDeployment
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from yaoki.config import Application, KubernetesSettings, Scaling, Secret
from yaoki.plans import OutcomeStatus

from .builders import T0
from .fakes import HandClock
from .hand_orders import Service, succeeded
from .http_servers import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

BASE = "/apis/apps/v1/namespaces/shop/deployments"


class ApiServer:
    """What the API documents of one deployment: optimistic concurrency, merge patches, a rollout in steps.

    Attributes:
        intruders: So many other writers come first.
        stuck: The rollout does not go on.
        forbidden: The service account lacks this path's right.
        autoscaler: Name of a HorizontalPodAutoscaler of the deployment.
    """

    def __init__(self) -> None:
        self.intruders = 0
        self.stuck = False
        self.forbidden = ""
        self.autoscaler = ""
        self.patches: list[dict[str, Any]] = []
        self.document: dict[str, Any] = {
            "kind": "Deployment",
            "metadata": {"name": "orders", "resourceVersion": "1", "generation": 1, "annotations": {}},
            "spec": {"replicas": 3, "paused": False, "template": {"metadata": {"labels": {"app": "orders"}}}},
            "status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3},
        }

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route(f"{BASE}/{{name}}", self._get, methods=["GET"]),
                Route(f"{BASE}/{{name}}", self._patch, methods=["PATCH"]),
                Route("/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers", self._autoscalers),
            ]
        )

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("Authorization") != "Bearer t0ken":
            return _status(401, "Unauthorized")
        if self.forbidden and self.forbidden in request.url.path:
            return _status(403, f"cannot use {self.forbidden}")
        return None

    async def _get(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        if request.path_params["name"] != "orders":
            return _status(404, f"deployments {request.path_params['name']!r} not found")
        answer = JSONResponse(self.document)
        self._go_on()
        return answer

    async def _patch(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        assert request.headers["Content-Type"] == "application/merge-patch+json"
        assert request.query_params["fieldManager"] == "yaoki-recovery"
        patch = msgspec.json.decode(await request.body())
        if self.intruders:
            self.intruders -= 1
            self.document["metadata"]["resourceVersion"] += "x"
        if patch["metadata"]["resourceVersion"] != self.document["metadata"]["resourceVersion"]:
            return _status(409, "the object has been modified")
        self.patches.append(copy.deepcopy(patch))
        before = copy.deepcopy(self.document["spec"])
        _merge(self.document, patch)
        metadata = self.document["metadata"]
        metadata["resourceVersion"] += "1"
        if self.document["spec"] != before:
            metadata["generation"] += 1
            self.document["status"] |= {"updatedReplicas": 0, "availableReplicas": 2}
        return JSONResponse(self.document)

    def _go_on(self) -> None:
        """A pod becomes available each time that somebody looks."""
        if self.stuck:
            return
        status, wanted = self.document["status"], self.document["spec"]["replicas"]
        status["observedGeneration"] = self.document["metadata"]["generation"]
        status["updatedReplicas"] = min(wanted, status["updatedReplicas"] + 1)
        status["replicas"] = wanted
        status["availableReplicas"] = wanted if status["updatedReplicas"] == wanted else status["updatedReplicas"]

    async def _autoscalers(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders"}
        items = [{"metadata": {"name": self.autoscaler}, "spec": {"scaleTargetRef": reference}}]
        return JSONResponse({"kind": "HorizontalPodAutoscalerList", "items": items if self.autoscaler else []})


def _merge(document: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            _merge(document[key], value)
        else:
            document[key] = value


def _status(code: int, message: str) -> Response:
    return JSONResponse({"kind": "Status", "code": code, "message": message}, code)


@pytest.fixture
async def cluster() -> AsyncIterator[tuple[ApiServer, dict[str, KubernetesSettings]]]:
    server = ApiServer()
    async with served(server.app()) as url:
        token = Secret("env:K8S", "t0ken")
        settings = KubernetesSettings(url=url, token=token, deployments=("shop/orders", "shop/gone"))
        yield server, {"prod": settings}


Cluster = tuple[ApiServer, dict[str, KubernetesSettings]]
ORDERS = {"kubernetes": "prod", "deployment": "shop/orders"}


def restarts(cluster: Cluster) -> Service:
    return Service(RestartDeployment(cluster[1], HandClock()))


def scales(cluster: Cluster, clock: HandClock | None = None) -> Service:
    scaling = Scaling(kubernetes="prod", deployment="shop/orders")
    return Service(ScaleDeployment(cluster[1], {"orders": Application(scaling=scaling)}, clock or HandClock()))


async def test_all_pods_are_replaced_and_waited_for(cluster: Cluster) -> None:
    """The dry run changes nothing; a repeat by another instance finds its own mark and changes nothing."""
    server, _ = cluster
    service = restarts(cluster)

    seen = await service.look(**ORDERS)
    assert server.patches == []
    order = service.order({**ORDERS, "before": seen["before"]})
    first = succeeded(await service.carry_out(order))
    again = succeeded(await service.reborn().perform(**ORDERS, before=seen["before"]))

    assert "replace the 3 pods of shop/orders" in seen["would"]
    assert first["pods"] == 3
    assert again["already"] is True
    (patch,) = server.patches
    assert patch["spec"]["template"]["metadata"]["annotations"][ORDER] == order.command_id
    assert server.document["spec"]["template"]["metadata"]["labels"] == {"app": "orders"}


async def test_a_repeat_in_the_middle_of_the_rollout_waits_for_it(cluster: Cluster) -> None:
    """The instance died after its patch: another one goes on waiting, and patches nothing."""
    server, _ = cluster
    service = restarts(cluster)
    order = service.order(ORDERS)
    succeeded(await service.carry_out(order))
    server.document["status"]["updatedReplicas"] = 1
    fresh = restarts(cluster)

    succeeded(await fresh.carry_out(fresh.order(ORDERS, command_id=order.command_id)))

    assert len(server.patches) == 1
    assert server.document["status"]["updatedReplicas"] == 3


async def test_nobody_elses_change_is_overwritten(cluster: Cluster) -> None:
    """A conflict is read again and decided again."""
    server, _ = cluster
    server.intruders = 3

    succeeded(await restarts(cluster).perform(**ORDERS))

    assert len(server.patches) == 1


async def test_the_load_decides_how_many_there_will_be(cluster: Cluster) -> None:
    """140 % of a processor at an aim of 70 % doubles them; the time stands at the deployment, for everybody."""
    server, _ = cluster
    clock = HandClock()
    service = scales(cluster, clock)
    load = {"cpu_percent": 140.0}

    result = succeeded(await service.perform(application="orders", direction="out", load=load))
    cooling = await service.perform(application="orders", direction="out", load=load)
    clock.forward(300)
    most = succeeded(await service.perform(application="orders", direction="out", load=load))

    assert (result["before"], result["pods"]) == (3, 6)
    assert cooling.status is OutcomeStatus.SKIPPED
    assert "left alone until" in cooling.error
    assert most["pods"] == 8
    assert server.document["metadata"]["annotations"][SCALED_AT] == (T0 + timedelta(seconds=300)).isoformat()


async def test_the_dry_run_is_what_is_done_and_only_once(cluster: Cluster) -> None:
    """Also when the load is another one by then, and when the order is given again."""
    server, _ = cluster
    service = scales(cluster)
    seen = await service.look(application="orders", direction="out")

    succeeded(await service.perform(application="orders", direction="out", before=seen["before"]))
    again = succeeded(await service.reborn().perform(application="orders", direction="out", before=seen["before"]))

    assert "scale shop/orders from 3 to 4 pods" in seen["would"]
    assert again["already"] is True
    assert server.document["spec"]["replicas"] == 4
    assert len(server.patches) == 1


async def test_what_somebody_else_scaled_in_between_is_left_alone(cluster: Cluster) -> None:
    """The decision was about another number."""
    server, _ = cluster
    service = scales(cluster)
    seen = await service.look(application="orders", direction="out")
    server.document["spec"]["replicas"] = 7

    outcome = await service.perform(application="orders", direction="out", before=seen["before"])

    assert outcome.status is OutcomeStatus.FAILED
    assert "somebody else scaled shop/orders to 7" in outcome.error
    assert server.patches == []


async def test_an_autoscaler_is_not_fought(cluster: Cluster) -> None:
    """And where nobody may ask whether there is one, nothing is scaled."""
    server, _ = cluster
    server.autoscaler = "orders-hpa"
    fought = await scales(cluster).perform(application="orders", direction="out")
    server.autoscaler, server.forbidden = "", "horizontalpodautoscalers"
    unknown = await scales(cluster).perform(application="orders", direction="out")

    assert fought.status is unknown.status is OutcomeStatus.SKIPPED
    assert "autoscaler 'orders-hpa' scales shop/orders" in fought.error
    assert "list horizontalpodautoscalers" in unknown.error
    assert server.patches == []


@pytest.mark.parametrize(
    ("change", "params", "status", "says"),
    [
        ({"spec": {"paused": True}}, ORDERS, OutcomeStatus.SKIPPED, "is paused"),
        ({"spec": {"replicas": 0}}, ORDERS, OutcomeStatus.SKIPPED, "scaled to 0"),
        ({}, {**ORDERS, "deployment": "shop/gone"}, OutcomeStatus.SKIPPED, "no deployment 'shop/gone'"),
        ({}, {**ORDERS, "deployment": "kube-system/dns"}, OutcomeStatus.REFUSED, "allows shop/gone or shop/orders"),
        ({}, {**ORDERS, "kubernetes": "test"}, OutcomeStatus.REFUSED, "recovery.kubernetes allows prod"),
    ],
)
async def test_what_is_not_touched(
    cluster: Cluster, change: dict[str, Any], params: dict[str, str], status: OutcomeStatus, says: str
) -> None:
    """Skipped when there is nothing to do, refused when it is not allowed."""
    _merge(cluster[0].document, change)

    outcome = await restarts(cluster).perform(**params)

    assert outcome.status is status
    assert says in outcome.error
    assert cluster[0].patches == []


async def test_missing_rights_and_a_rollout_that_hangs(cluster: Cluster) -> None:
    """Both are told, the second when the order's time is over."""
    server, _ = cluster
    server.forbidden = "deployments"
    forbidden = await restarts(cluster).perform(**ORDERS)
    server.forbidden, server.stuck = "", True
    service = restarts(cluster)
    order = service.order(ORDERS)
    order = msgspec.structs.replace(order, expires_at=order.expires_at - timedelta(seconds=58))
    hanging = await service.carry_out(order)

    assert forbidden.status is OutcomeStatus.REFUSED
    assert "cannot use deployments" in forbidden.error
    assert hanging.status is OutcomeStatus.FAILED
    assert hanging.error_code == "timeout"

"""Restarts and scales deployments of Kubernetes."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from yaoki.errors import ConflictError
from yaoki.hands import Sight, not_allowed
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

from recovery.adapters.kubernetes_api import KubernetesApi
from recovery.ports import Capacity
from recovery.scaling import Direction, Load, ScaleTo, decide_scale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.clock import Clock
    from yaoki.config.applications import Application, KubernetesSettings, Scaling
    from yaoki.plans import JsonObject

    from recovery.adapters.kubernetes_api import Deployment

ORDER: Final = "yaoki.dev/order"
"""Annotation with the order that restarted the pods, or changed their number: a repeat finds its own."""
SCALED_AT: Final = "yaoki.dev/scaled-at"
_POLL_S: Final = 0.5
_ATTEMPTS: Final = 10


class RestartParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deployment (`<namespace>/<name>`), and where."""

    kubernetes: str
    deployment: str


class Restarted(msgspec.Struct, frozen=True, kw_only=True):
    """All pods are new and available."""

    deployment: str
    pods: int
    generation: int


class RestartDeployment:
    """See `Hand`. As `kubectl rollout restart`: an annotation of the pods changes, and they are replaced in turn."""

    name = "kubernetes.restart"
    params = RestartParams

    def __init__(self, clusters: Mapping[str, KubernetesSettings], clock: Clock) -> None:
        self._clusters = clusters
        self._clock = clock

    async def look(self, params: RestartParams) -> Sight:
        """See `Hand.look`."""
        found = await _api(self._clusters, params.kubernetes, params.deployment).deployment(params.deployment)
        if found.spec.paused:
            raise PreconditionFailedError(f"the rollout of {params.deployment} is paused; somebody works on it")
        if found.spec.replicas == 0:
            raise PreconditionFailedError(f"{params.deployment} is scaled to 0; there is nothing to restart")
        return Sight(
            would=f"replace the {found.spec.replicas} pods of {params.deployment} one after the other",
            before={"order": found.template_annotations.get(ORDER, ""), "generation": found.metadata.generation},
            facts={"rolled_out": found.rolled_out, "available": found.status.available_replicas},
        )

    def happened(self, params: RestartParams, before: JsonObject, now: Sight) -> bool:  # noqa: ARG002 - the port's signature
        """See `Hand.happened`: other pods were ordered since, and are all there."""
        return bool(now.before["order"] != before["order"] and now.facts["rolled_out"])

    async def act(self, params: RestartParams, seen: Sight, order_id: str) -> Restarted:  # noqa: ARG002 - as above
        """See `Hand.act`."""
        api = _api(self._clusters, params.kubernetes, params.deployment)
        marks = {ORDER: order_id, "kubectl.kubernetes.io/restartedAt": self._clock.now().isoformat(timespec="seconds")}
        change = {"spec": {"template": {"metadata": {"annotations": marks}}}}
        found = await _change(api, params.deployment, lambda one: None if _ordered(one, order_id) else change)
        while not found.rolled_out:
            await asyncio.sleep(_POLL_S)
            found = await api.deployment(params.deployment)
        return Restarted(deployment=params.deployment, pods=found.spec.replicas, generation=found.metadata.generation)


class ScaleParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which application of the configuration, and in which direction.

    Attributes:
        load: What is known of it.
    """

    application: str
    direction: Direction
    load: Load = Load()


class Scaled(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment has another number of pods, all available."""

    deployment: str
    before: int
    pods: int


class ScaleDeployment:
    """See `Hand`. Decides by `recovery.scaling`; the time of the last change stands at the deployment itself."""

    name = "kubernetes.scale"
    params = ScaleParams

    def __init__(
        self, clusters: Mapping[str, KubernetesSettings], applications: Mapping[str, Application], clock: Clock
    ) -> None:
        self._clusters = clusters
        self._applications = applications
        self._clock = clock

    async def look(self, params: ScaleParams) -> Sight:
        """See `Hand.look`."""
        scaling = self._scaling(params)
        api = _api(self._clusters, scaling.kubernetes, scaling.deployment)
        found = await api.deployment(scaling.deployment)
        if autoscaler := await api.autoscaler_of(scaling.deployment):
            raise PreconditionFailedError(f"autoscaler {autoscaler!r} scales {scaling.deployment}; change its limits")
        current = found.spec.replicas
        decision = decide_scale(
            scaling,
            current=current,
            direction=params.direction,
            load=params.load,
            changed=_scaled_at(found),
            now=self._clock.now(),
        )
        to = decision.instances if isinstance(decision, ScaleTo) else current
        return Sight(
            would=f"scale {scaling.deployment} from {current} to {to} pods: {decision.why}",
            before={"order": found.metadata.annotations.get(ORDER, ""), "pods": current, "to": to},
            facts={"rolled_out": found.rolled_out},
            idle="" if isinstance(decision, ScaleTo) else decision.why,
        )

    def happened(self, params: ScaleParams, before: JsonObject, now: Sight) -> bool:  # noqa: ARG002 - the port's signature
        """See `Hand.happened`: somebody changed the number since, and the pods are there."""
        return bool(now.before["order"] != before["order"] and now.facts["rolled_out"])

    async def act(self, params: ScaleParams, seen: Sight, order_id: str) -> Scaled:
        """See `Hand.act`."""
        scaling = self._scaling(params)
        api = _api(self._clusters, scaling.kubernetes, scaling.deployment)
        pods, to = int(seen.before["pods"]), int(seen.before["to"])
        marks = {ORDER: order_id, SCALED_AT: self._clock.now().isoformat()}
        change = {"metadata": {"annotations": marks}, "spec": {"replicas": to}}

        def decide(one: Deployment) -> dict[str, Any] | None:
            if one.metadata.annotations.get(ORDER) == order_id:
                return None
            if one.spec.replicas != pods:
                raise ActionFailedError(f"somebody else scaled {scaling.deployment} to {one.spec.replicas} meanwhile")
            return change

        found = await _change(api, scaling.deployment, decide)
        while not found.rolled_out:
            await asyncio.sleep(_POLL_S)
            found = await api.deployment(scaling.deployment)
        return Scaled(deployment=scaling.deployment, before=pods, pods=found.spec.replicas)

    def _scaling(self, params: ScaleParams) -> Scaling:
        application = self._applications.get(params.application)
        if application is None or application.scaling is None:
            known = [name for name, one in self._applications.items() if one.scaling is not None]
            raise not_allowed("application", params.application, known, "recovery.applications.*.scaling")
        return application.scaling


class DeploymentCapacities:
    """See `recovery.ports.Capacities`."""

    def __init__(self, clusters: Mapping[str, KubernetesSettings]) -> None:
        self._clusters = clusters

    async def read(self, scaling: Scaling) -> Capacity | None:
        """See `Capacities.read`."""
        api = _api(self._clusters, scaling.kubernetes, scaling.deployment)
        found = await api.deployment(scaling.deployment)
        if not found.rolled_out or found.spec.paused or await api.autoscaler_of(scaling.deployment):
            return None
        return Capacity(instances=found.spec.replicas, changed=_scaled_at(found))


def _api(clusters: Mapping[str, KubernetesSettings], name: str, deployment: str) -> KubernetesApi:
    settings = clusters.get(name)
    if settings is None:
        raise not_allowed("cluster", name, clusters, "recovery.kubernetes")
    if deployment not in settings.deployments:
        where = f"recovery.kubernetes.{name}.deployments"
        raise not_allowed("deployment", deployment, settings.deployments, where)
    return KubernetesApi(name, settings)


async def _change(api: KubernetesApi, deployment: str, decide: Any) -> Deployment:
    """Read, decide, change exactly what was read; again when somebody was faster."""
    for _ in range(_ATTEMPTS):
        found = await api.deployment(deployment)
        change = decide(found)
        if change is None:
            return found
        try:
            return await api.patch(deployment, found, change)
        except ConflictError:
            continue
    raise ActionFailedError(f"deployment {deployment!r} was changed by others {_ATTEMPTS} times in a row")


def _ordered(found: Deployment, order_id: str) -> bool:
    return found.template_annotations.get(ORDER) == order_id


def _scaled_at(found: Deployment) -> datetime | None:
    text = found.metadata.annotations.get(SCALED_AT, "")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None

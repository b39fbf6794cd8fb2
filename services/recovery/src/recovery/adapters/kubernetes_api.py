"""The little that recovery needs of the Kubernetes API: deployments, read and patched under their resource version."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
from yaoki.errors import ConflictError, ErrorCode, RejectedError, TransientError
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.config.applications import KubernetesSettings

_ANSWER_S: Final = 10.0
_MERGE: Final = "application/merge-patch+json"
_MANAGER: Final = "yaoki-recovery"


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str
    generation: int = 0
    annotations: dict[str, str] = {}


class _PodMetadata(msgspec.Struct, rename="camel"):
    annotations: dict[str, str] | None = None


class _Template(msgspec.Struct, rename="camel"):
    metadata: _PodMetadata | None = None


class _Spec(msgspec.Struct, rename="camel"):
    template: _Template
    replicas: int = 1
    paused: bool = False


class _Status(msgspec.Struct, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0


class Deployment(msgspec.Struct):
    """What the API says of one deployment."""

    metadata: _Metadata
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def template_annotations(self) -> dict[str, str]:
        """Of its pods."""
        metadata = self.spec.template.metadata
        return (metadata.annotations or {}) if metadata else {}

    @property
    def rolled_out(self) -> bool:
        """All its pods are of the present generation and available, and none is left of an older one."""
        status = self.status
        numbers = {status.replicas, status.updated_replicas, status.available_replicas}
        return status.observed_generation >= self.metadata.generation and numbers == {self.spec.replicas}


class KubernetesApi:
    """One API server.

    Args:
        name: As the configuration calls it.
        settings: That entry.
    """

    def __init__(self, name: str, settings: KubernetesSettings) -> None:
        self._name = name
        self._settings = settings

    async def deployment(self, deployment: str) -> Deployment:
        """Read `<namespace>/<name>`.

        Raises:
            PreconditionFailedError: There is none.
            TransientError: The server does not answer.
        """
        answer = await self._call("GET", _path(deployment))
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise PreconditionFailedError(f"kubernetes {self._name!r} has no deployment {deployment!r}")
        return _decoded(answer)

    async def patch(self, deployment: str, seen: Deployment, change: dict[str, Any]) -> Deployment:
        """Change exactly the version that was seen.

        Raises:
            ConflictError: Somebody changed it in between; nothing was changed.
            TransientError: The server does not answer; it may have been changed.
        """
        metadata = {**change.get("metadata", {}), "resourceVersion": seen.metadata.resource_version}
        body = msgspec.json.encode({**change, "metadata": metadata})
        path = f"{_path(deployment)}?fieldManager={_MANAGER}"
        answer = await self._call("PATCH", path, content=body, headers={"Content-Type": _MERGE})
        if answer.status_code == HTTPStatus.CONFLICT:
            raise ConflictError(f"deployment {deployment!r} was changed by somebody else; it is read again")
        return _decoded(answer)

    async def autoscaler_of(self, deployment: str) -> str:
        """Name of the HorizontalPodAutoscaler that scales the deployment; empty when there is none.

        Raises:
            PreconditionFailedError: It may not be asked, so that nobody can tell.
        """
        namespace, name = deployment.split("/", 1)
        answer = await self._call("GET", f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers")
        if answer.status_code == HTTPStatus.FORBIDDEN:
            raise PreconditionFailedError(
                f"kubernetes {self._name!r} does not say whether an autoscaler scales {deployment!r}; allow the "
                "service account to list horizontalpodautoscalers"
            )
        _check(answer)
        for item in msgspec.json.decode(answer.content).get("items", []):
            reference = item.get("spec", {}).get("scaleTargetRef", {})
            if (reference.get("kind"), reference.get("name")) == ("Deployment", name):
                return str(item.get("metadata", {}).get("name", "")) or name
        return ""

    async def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            async with self._client() as client:
                return await client.request(method, path, **arguments)
        except (httpx.HTTPError, OSError) as error:
            said = str(error) or type(error).__name__
            raise TransientError(f"kubernetes {self._name!r} at {self._settings.url}: {said}") from error

    def _tls(self) -> ssl.SSLContext | bool:
        """Reading all the system's authorities takes longer than a whole call without TLS."""
        return (
            ssl.create_default_context(cafile=self._settings.ca) if self._settings.url.startswith("https:") else False
        )

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        settings = self._settings
        headers = {"Authorization": f"Bearer {settings.token.reveal()}"} if settings.token else {}
        async with httpx.AsyncClient(
            base_url=settings.url.rstrip("/"), headers=headers, verify=self._tls(), timeout=_ANSWER_S, trust_env=False
        ) as client:
            yield client


def _path(deployment: str) -> str:
    namespace, name = deployment.split("/", 1)
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"


def _check(answer: httpx.Response) -> None:
    status = answer.status_code
    if answer.is_success:
        return
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise RejectedError(f"the Kubernetes API refuses: {_said(answer)}", code=ErrorCode.NOT_ALLOWED)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise TransientError(f"the Kubernetes API cannot: {_said(answer)}")
    raise ActionFailedError(f"the Kubernetes API does not take the change: {_said(answer)}")


def _decoded(answer: httpx.Response) -> Deployment:
    _check(answer)
    try:
        return msgspec.json.decode(answer.content, type=Deployment)
    except msgspec.DecodeError as error:
        raise TransientError(f"the Kubernetes API's answer is not as documented: {error}") from error


def _said(answer: httpx.Response) -> str:
    try:
        body: Any = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        body = {}
    message = body.get("message", "") if isinstance(body, dict) else ""
    return f"{answer.status_code} {message or answer.reason_phrase}"

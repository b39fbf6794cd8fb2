"""An S3 bucket over one connection: our own HTTP with its phases and bounds, signed by botocore.

Not a boto3 client in a thread: it cannot be interrupted at a deadline, reads whatever length a server announces,
and cannot say in which phase it stopped.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

import msgspec
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from typing_extensions import override
from yaoki.events.probe import ErrorClass

from health_probe.adapters.http_session import open_session
from health_probe.attempt import ProbeFailedError, presentable

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator, Mapping

    from health_probe.adapters.http_session import Answer, HttpSession
    from health_probe.adapters.network import Network
    from health_probe.attempt import Phases

_CODES: Final = {
    "RequestTimeTooSkewed": ErrorClass.LOCAL,
    "SlowDown": ErrorClass.CAPACITY,
    "ServiceUnavailable": ErrorClass.CAPACITY,
    "InsufficientStorage": ErrorClass.CAPACITY,
    "QuotaExceeded": ErrorClass.CAPACITY,
    "XMinioStorageFull": ErrorClass.CAPACITY,
}
_STATUSES: Final = {
    401: ErrorClass.AUTH,
    403: ErrorClass.AUTH,
    503: ErrorClass.CAPACITY,
    507: ErrorClass.CAPACITY,
}
"""The error's code decides, else its status; everything else is `protocol`."""

_OK: Final = range(200, 300)


class S3Login(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are signed; `repr` shows nothing."""

    access_key: str
    secret_key: str
    session_token: str | None = None

    @override
    def __repr__(self) -> str:
        return "S3Login(...)"


class S3Place(msgspec.Struct, frozen=True, kw_only=True):
    """Which bucket.

    Attributes:
        endpoint: `https://host[:port]`; buckets are addressed by path.
        ca_file: Authorities to trust (PEM); the system's when None.
    """

    endpoint: str
    bucket: str
    region: str
    login: S3Login
    ca_file: str | None = None


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a listing."""

    key: str
    modified: datetime
    size: int


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a listing; `token` leads to the next one."""

    objects: tuple[StoredObject, ...]
    token: str | None


class S3Bucket:
    """See `open_bucket`. Every method raises ProbeFailedError for whatever the store answers but success."""

    def __init__(self, session: HttpSession, place: S3Place) -> None:
        self._session = session
        self._place = place
        login = place.login
        credentials = Credentials(login.access_key, login.secret_key, login.session_token)
        self._signer = S3SigV4Auth(credentials, "s3", place.region)

    async def put(self, phases: Phases, key: str, body: bytes, *, encryption: str | None = None) -> None:
        """Store an object; `encryption` is the server's, e.g. `AES256`."""
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        headers = {"Content-MD5": digest} | ({"x-amz-server-side-encryption": encryption} if encryption else {})
        await self._send(phases, "put", "PUT", key, headers=headers, body=body)

    async def get(self, phases: Phases, key: str) -> bytes:
        """An object's bytes."""
        return (await self._send(phases, "get", "GET", key)).body

    async def delete(self, phases: Phases, key: str) -> None:
        """Delete an object."""
        await self._send(phases, "delete", "DELETE", key)

    async def list(self, phases: Phases, prefix: str, token: str | None = None) -> Page:
        """Up to 1000 objects below `prefix`."""
        query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
        answer = await self._send(phases, "list", "GET", "", query=query)
        return _page(answer.body)

    async def _send(
        self,
        phases: Phases,
        phase: str,
        method: str,
        key: str,
        *,
        headers: Mapping[str, str] = {},
        query: Mapping[str, str] = {},
        body: bytes = b"",
    ) -> Answer:
        path = f"/{self._place.bucket}/{quote(key, safe='/~')}".rstrip("/")
        target = path + (f"?{urlencode(sorted(query.items()), quote_via=quote)}" if query else "")
        request = AWSRequest(method=method, url=self._place.endpoint.rstrip("/") + target, data=body, headers=headers)
        self._signer.add_auth(request)
        signed = {str(name): str(value) for name, value in request.headers.items()}
        answer = await self._session.send(phases, phase, method, target, headers=signed, body=body)
        if answer.status not in _OK:
            raise self._refusal(phase, answer)
        return answer

    def _refusal(self, phase: str, answer: Answer) -> ProbeFailedError:
        code = next((element.text or "" for element in _elements(answer.body, "Code")), "")
        error_class = _CODES.get(code) or _STATUSES.get(answer.status, ErrorClass.PROTOCOL)
        words = presentable(code or "no error code", self._place.login.secret_key, self._place.login.access_key)
        where = f"{phase} in bucket {self._place.bucket}"
        return ProbeFailedError(error_class, f"{where} was answered {answer.status}: {words}")


@asynccontextmanager
async def open_bucket(
    network: Network, phases: Phases, place: S3Place, *, tls: ssl.SSLContext | None, limit: int
) -> AsyncIterator[S3Bucket]:
    """The bucket over a fresh connection, which all its requests share; gone when the block ends."""
    async with open_session(network, phases, place.endpoint, tls=tls, limit=limit) as session:
        yield S3Bucket(session, place)


def _page(body: bytes) -> Page:
    try:
        objects = tuple(_stored(element) for element in _elements(body, "Contents"))
    except (ValueError, TypeError) as exc:
        raise ProbeFailedError(ErrorClass.PROTOCOL, "the listing cannot be read") from exc
    if not any(True for _ in _elements(body, "ListBucketResult")):
        raise ProbeFailedError(ErrorClass.PROTOCOL, "the answer to the listing is no listing")
    token = next((element.text for element in _elements(body, "NextContinuationToken")), None)
    return Page(objects=objects, token=token)


def _stored(element: ET.Element) -> StoredObject:
    fields = {child.tag.rpartition("}")[2]: child.text or "" for child in element}
    modified = datetime.fromisoformat(fields.get("LastModified", ""))
    return StoredObject(key=fields.get("Key", ""), modified=modified, size=int(fields.get("Size", "0")))


def _elements(body: bytes, name: str) -> Iterator[ET.Element]:
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        return
    try:
        root = ET.fromstring(body)  # noqa: S314 - bounded, and a document type, where bombs live, is refused above
    except ET.ParseError:
        return
    yield from (element for element in root.iter() if element.tag.rpartition("}")[2] == name)

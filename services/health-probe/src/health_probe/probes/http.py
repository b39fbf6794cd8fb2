"""An HTTP endpoint is well by its status, and by its headers and body where something is expected of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.config import HttpTarget, Scope
from yaoki.events.probe import ErrorClass, FailureType, ProbeStatus

from health_probe.adapters.http import fetch
from health_probe.attempt import Finding, ProbeFailedError
from health_probe.kinds import ProbeKind
from health_probe.targets import Component

if TYPE_CHECKING:
    from collections.abc import Mapping

    from health_probe.adapters.http_session import Answer
    from health_probe.adapters.network import Network
    from health_probe.attempt import Facts, Phases
    from health_probe.kinds import Surroundings
    from health_probe.ports import Check

_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500


class Expectations(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer has to be; what is left out is not looked at.

    Attributes:
        statuses: When empty: below 400 healthy, below 500 degraded, else unhealthy.
        body: Text that has to occur in the body.
        headers: Value by name of header, letter case of names ignored.
        json_fields: Value by path into the JSON body, `a.b` for `{"a": {"b": ...}}`.
        within_s: A slower answer is degraded.
    """

    statuses: tuple[int, ...] = ()
    body: str | None = None
    headers: Mapping[str, str] = {}
    json_fields: Mapping[str, object] = {}
    within_s: float | None = None


class HttpCheck:
    """See `Check`."""

    def __init__(self, *, network: Network, url: str, method: str, verify_tls: bool, expect: Expectations) -> None:
        self._network = network
        self._url = url
        self._method = method
        self._verify_tls = verify_tls
        self._expect = expect

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: status, body_bytes."""
        started = time.monotonic()
        answer = await fetch(self._network, phases, self._url, method=self._method, verify_tls=self._verify_tls)
        phases.name = "verdict"
        return judge(answer, self._expect, time.monotonic() - started)


def judge(answer: Answer, expect: Expectations, took_s: float) -> Finding:
    """Decide what an answer that took `took_s` seconds says about the endpoint.

    Raises:
        ProbeFailedError: Class `protocol`: a server error, or not what was expected.
    """
    facts: Facts = {"status": answer.status, "body_bytes": len(answer.body)}
    mistakes = [*_status_mistakes(answer, expect), *_content_mistakes(answer, expect)]
    if mistakes:
        raise ProbeFailedError(ErrorClass.PROTOCOL, "; ".join(mistakes), facts)
    if not expect.statuses and answer.status >= _CLIENT_ERROR:
        return Finding(
            status=ProbeStatus.DEGRADED,
            error_class=ErrorClass.PROTOCOL,
            detail=f"status {answer.status}: it answers, but not to this request",
            facts=facts,
        )
    if expect.within_s is not None and took_s > expect.within_s:
        detail = f"the answer took {took_s:.3f} s, expected {expect.within_s:g} s"
        return Finding(status=ProbeStatus.DEGRADED, error_class=ErrorClass.TIMEOUT, detail=detail, facts=facts)
    return Finding(facts=facts)


def _status_mistakes(answer: Answer, expect: Expectations) -> list[str]:
    if expect.statuses and answer.status not in expect.statuses:
        allowed = ", ".join(map(str, expect.statuses))
        return [f"status {answer.status}, expected {allowed}"]
    if not expect.statuses and answer.status >= _SERVER_ERROR:
        return [f"status {answer.status}, expected below {_SERVER_ERROR}"]
    return []


def _content_mistakes(answer: Answer, expect: Expectations) -> list[str]:
    looks_at_body = expect.body is not None or expect.json_fields
    if looks_at_body and answer.headers.get("content-encoding", "identity") != "identity":
        return ["the body is compressed although identity was asked for"]
    mistakes = [
        f"header {name} is not {value!r}"
        for name, value in expect.headers.items()
        if answer.headers.get(name.lower()) != value
    ]
    if expect.body is not None and expect.body.encode() not in answer.body:
        mistakes.append("the body does not contain the expected text")
    return mistakes + _json_mistakes(answer.body, expect.json_fields)


def _json_mistakes(body: bytes, fields: Mapping[str, object]) -> list[str]:
    if not fields:
        return []
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ["the body is not JSON"]
    return [f"JSON field {path} is not {value!r}" for path, value in fields.items() if not _has(document, path, value)]


def _has(document: object, path: str, expected: object) -> bool:
    for name in path.split("."):
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    # True == 1 in Python, but not in JSON.
    return document == expected and isinstance(document, bool) == isinstance(expected, bool)


def _build(_name: str, target: HttpTarget, surroundings: Surroundings) -> Check:
    return HttpCheck(
        network=surroundings.network,
        url=target.url,
        method=target.method,
        verify_tls=target.verify_tls,
        expect=Expectations(
            statuses=target.expect_status,
            body=target.expect_body,
            headers=target.expect_headers,
            json_fields=target.expect_json,
            within_s=target.degraded_after,
        ),
    )


def _failure_type(target: HttpTarget) -> FailureType:
    external = target.scope is Scope.EXTERNAL
    return FailureType.EXTERNAL_SERVICE if external else FailureType.ERROR_RATE


KIND = ProbeKind(target=HttpTarget, component=Component.SERVICES, build=_build, failure_type=_failure_type)

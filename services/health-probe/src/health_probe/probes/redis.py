"""A Redis master is well when it takes a key, gives it back and deletes it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from yaoki.config import RedisTarget
from yaoki.events.probe import ErrorClass, FailureType
from yaoki.flags import Endpoint

from health_probe.adapters.resp import RedisReplyError, RespClient
from health_probe.attempt import Facts, Finding, ProbeFailedError, presentable
from health_probe.kinds import ProbeKind
from health_probe.probes.candidates import first_well
from health_probe.routes import FixedEndpoint, RoutedEndpoints
from health_probe.targets import Component

if TYPE_CHECKING:
    from health_probe.adapters.network import Network
    from health_probe.adapters.resp import Reply
    from health_probe.attempt import Phases
    from health_probe.kinds import Surroundings
    from health_probe.ports import Check, EndpointSource

_TTL_S: Final = 60
"""A key that is never deleted, because the probe died before, is gone after this."""

_CLASSES: Final = {
    "NOAUTH": ErrorClass.AUTH,
    "WRONGPASS": ErrorClass.AUTH,
    "NOPERM": ErrorClass.AUTH,
    "LOADING": ErrorClass.REFUSED,
    "BUSY": ErrorClass.TIMEOUT,
    "OOM": ErrorClass.CAPACITY,
    "MISCONF": ErrorClass.CAPACITY,
}
"""First word of an error reply -> class; everything else is `protocol`."""


class RedisCheck:
    """See `Check`. Writes below `yaoki:probe:`, so an ACL user needs `~yaoki:probe:* +set +get +del +role`.

    Args:
        user: ACL user; None is the default user.
        password: None sends no AUTH.
    """

    def __init__(self, *, network: Network, user: str | None, password: str | None, endpoints: EndpointSource) -> None:
        self._network = network
        self._user = user
        self._password = password
        self._endpoints = endpoints

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: member, role, replicas, offset."""
        return await first_well(self._check_at, phases, self._endpoints.primary_candidates())

    async def _check_at(self, phases: Phases, endpoint: Endpoint) -> Finding:
        async with self._network.open_stream(phases, endpoint.host, endpoint.port) as stream:
            client = RespClient(stream)
            try:
                return await self._converse(phases, client, endpoint.member)
            except RedisReplyError as exc:
                words = presentable(str(exc), self._password or "")
                error_class = _CLASSES.get(exc.code, _by_words(str(exc)))
                raise ProbeFailedError(error_class, f"Redis answered: {words}") from exc

    async def _converse(self, phases: Phases, client: RespClient, member: str) -> Finding:
        if self._password is not None:
            async with phases.phase("login"):
                await client.command("AUTH", *filter(None, (self._user, self._password)))
        async with phases.phase("role"):
            facts = _role_facts(await client.command("ROLE"), member)
        if facts["role"] != "master":
            sentence = f"{member} answers at the master's address but is a {facts['role']}"
            raise ProbeFailedError(ErrorClass.PROTOCOL, sentence, facts)
        await _write_back(phases, client, facts)
        return Finding(facts=facts)


async def _write_back(phases: Phases, client: RespClient, facts: Facts) -> None:
    nonce = secrets.token_hex(8)
    key = f"yaoki:probe:{nonce}"
    async with phases.phase("set"):
        await client.command("SET", key, nonce, "EX", str(_TTL_S))
    async with phases.phase("get"):
        read = await client.command("GET", key)
    if read != nonce:
        raise ProbeFailedError(ErrorClass.PROTOCOL, "GET did not return what SET had just stored", facts)
    async with phases.phase("del"):
        deleted = await client.command("DEL", key)
    if deleted != 1:
        raise ProbeFailedError(ErrorClass.PROTOCOL, "DEL did not find the key that SET had just stored", facts)


def _role_facts(reply: Reply, member: str) -> Facts:
    match reply:
        case ["master", int(offset), list(replicas)]:
            return {"member": member, "role": "master", "offset": offset, "replicas": len(replicas)}
        case ["slave", *_]:
            return {"member": member, "role": "replica"}
        case [str(role), *_]:
            return {"member": member, "role": presentable(role)}
        case _:
            raise ProbeFailedError(ErrorClass.PROTOCOL, "ROLE was not answered as Redis does")


def _by_words(text: str) -> ErrorClass:
    if "max number of clients" in text:
        return ErrorClass.CAPACITY
    return ErrorClass.AUTH if "AUTH" in text else ErrorClass.PROTOCOL


def _build(name: str, target: RedisTarget, surroundings: Surroundings) -> Check:
    return RedisCheck(
        network=surroundings.network,
        user=target.user,
        password=target.password.reveal() if target.password else None,
        endpoints=_endpoints(name, target, surroundings),
    )


def _endpoints(name: str, target: RedisTarget, surroundings: Surroundings) -> EndpointSource:
    if target.group is None:
        return FixedEndpoint(Endpoint(member=name, host=target.host or "", port=target.port))
    members = surroundings.config.redis_groups[target.group].members
    return RoutedEndpoints(
        surroundings.routes,
        target.group,
        tuple(Endpoint(member=key, host=member.host, port=member.port) for key, member in members.items()),
    )


def _failure_type(_target: RedisTarget) -> FailureType:
    return FailureType.REDIS_CONNECTION


KIND = ProbeKind(target=RedisTarget, component=Component.REDIS, build=_build, failure_type=_failure_type)

"""A name is well while it resolves, to what is expected where something is."""

import ipaddress
from collections.abc import Iterator
from typing import Literal

from typing_extensions import override
from yaoki.config import Address, Scope, Target
from yaoki.config.findings import Context
from yaoki.config.findings import Finding as Mistake
from yaoki.config.forms import Host
from yaoki.events.probe import ErrorClass, FailureType

from health_probe.adapters.dns import look_up
from health_probe.attempt import Facts, Finding, Phases, ProbeFailedError
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.targets import Component

Record = Literal["A", "AAAA", "CNAME", "MX", "NS", "SRV", "TXT"]


class DnsTarget(Target, frozen=True, kw_only=True, tag="dns"):
    """A name in the DNS; /etc/hosts is not looked at.

    Attributes:
        name: What to ask for.
        record: Type of record.
        expect: All of these have to be among the answers; any answer will do when left out.
        exclusive: Nothing else may be among them.
        resolver: IP address and port of the server to ask; the system's resolvers when left out.
    """

    failures = frozenset({FailureType.NETWORK_PARTITION, FailureType.EXTERNAL_SERVICE})

    name: Host
    record: Record = "A"
    expect: tuple[str, ...] = ()
    exclusive: bool = False
    resolver: Address | None = None

    @override
    def mistakes(self, path: str, context: Context) -> Iterator[Mistake]:
        """See `Target.mistakes`."""
        if self.resolver is not None and not _is_ip(self.resolver.host):
            yield Mistake(
                path=f"{path}.resolver",
                found=self.resolver.host,
                expected="an IP address with a port, e.g. 192.0.2.1:53",
                hint="a resolver's name would have to be resolved first",
            )
        if self.exclusive and not self.expect:
            yield Mistake(path=f"{path}.exclusive", found="true", expected="false, or something in expect")


class DnsCheck:
    """See `Check`."""

    def __init__(self, target: DnsTarget) -> None:
        self._target = target
        self._expected = frozenset(_normal(text) for text in target.expect)

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: records, ttl_s."""
        target = self._target
        found, ttl_s = await look_up(phases, target.name, target.record, target.resolver)
        phases.name = "verdict"
        facts: Facts = {"records": ", ".join(sorted(found))[:200], "ttl_s": ttl_s}
        present = {_normal(text) for text in found}
        missing = sorted(self._expected - present)
        surplus = sorted(present - self._expected) if target.exclusive else []
        mistakes = [f"{text} is missing" for text in missing] + [f"{text} is not expected" for text in surplus]
        if mistakes:
            raise ProbeFailedError(ErrorClass.DNS, f"{target.name}: {'; '.join(mistakes)[:200]}", facts)
        return Finding(facts=facts)


def _normal(text: str) -> str:
    """One spelling of what may be spelled in several ways."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text.rstrip(".").lower()


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _build(_name: str, target: DnsTarget, _surroundings: Surroundings) -> Check:
    return DnsCheck(target)


def _failure_type(target: DnsTarget) -> FailureType:
    return FailureType.EXTERNAL_SERVICE if target.scope is Scope.EXTERNAL else FailureType.NETWORK_PARTITION


KIND = ProbeKind(target=DnsTarget, component=Component.SERVICES, build=_build, failure_type=_failure_type)

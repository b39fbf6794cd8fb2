"""DNS questions with a deadline, to the system's resolvers or to a named one.

Not `getaddrinfo`: it cannot be told whom to ask, reads /etc/hosts as well, and cannot be interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver
from yaoki.events.probe import ErrorClass

from health_probe.attempt import ProbeFailedError

if TYPE_CHECKING:
    from yaoki.config import Address

    from health_probe.attempt import Phases


async def look_up(phases: Phases, name: str, record: str, resolver: Address | None) -> tuple[frozenset[str], int]:
    """All records of type `record`, and for how many seconds they may be kept.

    Raises:
        ProbeFailedError: Class `dns`: no such name, no such record, or the server refuses; `timeout`: no answer.
    """
    asked = _resolver(phases, resolver)
    async with phases.phase("query"):
        try:
            answer = await asked.resolve(name, record)
        except dns.exception.Timeout as exc:
            sentence = f"no answer for {name} within {phases.deadline.total_s:g} s"
            raise ProbeFailedError(ErrorClass.TIMEOUT, sentence) from exc
        except dns.resolver.NXDOMAIN as exc:
            raise ProbeFailedError(ErrorClass.DNS, f"{name} does not exist") from exc
        except dns.resolver.NoAnswer as exc:
            raise ProbeFailedError(ErrorClass.DNS, f"{name} has no {record} record") from exc
        except dns.resolver.NoNameservers as exc:
            raise ProbeFailedError(ErrorClass.DNS, f"no server answers usefully for {name}") from exc
        except dns.exception.DNSException as exc:
            raise ProbeFailedError(ErrorClass.DNS, f"{name} cannot be asked for: {type(exc).__name__}") from exc
    found = frozenset(item.to_text().rstrip(".") for item in answer)
    return found, 0 if answer.rrset is None else int(answer.rrset.ttl)


def _resolver(phases: Phases, resolver: Address | None) -> dns.asyncresolver.Resolver:
    try:
        asked = dns.asyncresolver.Resolver(configure=resolver is None)
    except dns.resolver.NoResolverConfiguration as exc:
        raise ProbeFailedError(ErrorClass.LOCAL, "/etc/resolv.conf names no resolver; name one") from exc
    if resolver is not None:
        asked.nameservers = [resolver.host]
        asked.port = resolver.port
    asked.cache = None
    # One try takes a third at most, so that a lost packet is not a failure.
    asked.lifetime = phases.deadline.total_s
    asked.timeout = phases.deadline.total_s / 3
    return asked

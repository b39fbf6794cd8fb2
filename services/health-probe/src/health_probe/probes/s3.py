"""An object store is well when it takes an object, gives it back unchanged and deletes it."""

import secrets
from typing import Annotated, Final, Literal

import msgspec
from yaoki.config import Scope, Secret, Target
from yaoki.config.base import Section
from yaoki.config.forms import AbsolutePath, HttpUrl
from yaoki.events.probe import ErrorClass, FailureType

from health_probe.adapters.network import MAX_ANSWER_BYTES, Network
from health_probe.adapters.s3 import S3Login, S3Place, open_bucket
from health_probe.attempt import Finding, Phases, ProbeFailedError
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.probes.tls import trusting
from health_probe.targets import Component

Text = Annotated[str, msgspec.Meta(min_length=1)]

_BYTES: Final = 256


class S3Access(Section, frozen=True, kw_only=True):
    """How a bucket is reached; also part of other kinds.

    Attributes:
        endpoint: Of the store.
        bucket: Its name; addressed by path.
        region: For the signature.
        access_key: Of the probe's own identity, which needs put, get, delete and list below its prefix only.
        secret_key: Of `access_key`.
        session_token: Of temporary credentials.
        ca_file: Authorities to trust (PEM); the system's when left out.
    """

    endpoint: HttpUrl = "https://s3.amazonaws.com"
    bucket: Text
    region: Text = "us-east-1"
    access_key: Secret
    secret_key: Secret
    session_token: Secret | None = None
    ca_file: AbsolutePath | None = None

    def place(self) -> S3Place:
        """For the adapter, with the secrets revealed."""
        login = S3Login(
            access_key=self.access_key.reveal(),
            secret_key=self.secret_key.reveal(),
            session_token=self.session_token.reveal() if self.session_token else None,
        )
        return S3Place(
            endpoint=self.endpoint, bucket=self.bucket, region=self.region, login=login, ca_file=self.ca_file
        )


class S3Target(Target, frozen=True, kw_only=True, tag="s3"):
    """A bucket in which the prober may put, get and delete below `prefix`.

    Attributes:
        store: Which bucket.
        prefix: Of the objects that the probe makes; an expiry rule on it removes what a killed prober left.
        encryption: Server-side encryption to ask for.
    """

    failures = frozenset({FailureType.STORAGE, FailureType.EXTERNAL_SERVICE})

    store: S3Access
    prefix: str = ".yaoki-probe/"
    encryption: Literal["AES256", "aws:kms"] | None = None


class S3Check:
    """See `Check`."""

    def __init__(self, *, network: Network, place: S3Place, prefix: str, encryption: str | None) -> None:
        self._network = network
        self._place = place
        self._prefix = prefix
        self._encryption = encryption

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: bytes."""
        tls = trusting(self._place.ca_file) if self._place.endpoint.startswith("https:") else None
        wanted = secrets.token_bytes(_BYTES)
        key = f"{self._prefix}{secrets.token_hex(8)}"
        async with open_bucket(self._network, phases, self._place, tls=tls, limit=MAX_ANSWER_BYTES) as bucket:
            await bucket.put(phases, key, wanted, encryption=self._encryption)
            read = await bucket.get(phases, key)
            await bucket.delete(phases, key)
        phases.name = "verdict"
        if read != wanted:
            raise ProbeFailedError(ErrorClass.PROTOCOL, "other bytes came back than were stored")
        return Finding(facts={"bytes": _BYTES})


def _build(_name: str, target: S3Target, surroundings: Surroundings) -> Check:
    return S3Check(
        network=surroundings.network,
        place=target.store.place(),
        prefix=target.prefix,
        encryption=target.encryption,
    )


def _failure_type(target: S3Target) -> FailureType:
    return FailureType.EXTERNAL_SERVICE if target.scope is Scope.EXTERNAL else FailureType.STORAGE


KIND = ProbeKind(target=S3Target, component=Component.SERVICES, build=_build, failure_type=_failure_type)

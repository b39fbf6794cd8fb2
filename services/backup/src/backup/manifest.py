"""What is written down about a backup: once, last, and never changed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import msgspec
from yaoki.events.backup import VerificationStage

from backup.errors import DamagedError

FORMAT: Final = 1
MOST_BYTES: Final = 32 << 20
_ID: Final = re.compile(r"[0-9]{8}t[0-9]{6}z-[0-9a-f]{8}")


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """One object of a stream.

    Attributes:
        name: Beside the manifest, e.g. `data.000`.
        size: Bytes as stored.
        sha256: Of the stored bytes.
    """

    name: str
    size: int
    sha256: str


class StoredStream(msgspec.Struct, frozen=True, kw_only=True):
    """A sequence of plain bytes, stored as zstd inside age over one or more objects in a row.

    Attributes:
        name: E.g. `data`, `globals`.
        plain_size: Bytes before compression.
        plain_sha256: Of the plain bytes.
    """

    name: str
    plain_size: int
    plain_sha256: str
    objects: tuple[StoredObject, ...]


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """Something countable of the source: a table, a database's large objects, a tree of files.

    Attributes:
        name: E.g. `public.orders`.
        rows: How many.
        fingerprint: Of the content, whatever its order; empty when it was not taken.
    """

    name: str
    rows: int
    fingerprint: str = ""


class SourceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a source knows of the view that was stored.

    Attributes:
        consistent_at: The moment that it shows, UTC.
        contents: Counts and fingerprints from the very same view.
        versions: Of the server and of the programs that read it.
        details: What a restore needs to know, by name.
        warnings: What was left out or changed while it was read, one sentence each.
    """

    consistent_at: datetime
    contents: tuple[Content, ...] = ()
    versions: dict[str, str] = {}
    details: dict[str, str] = {}
    warnings: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One backup, complete. Readers ignore fields they do not know.

    Attributes:
        format: Of this struct.
        compression: Of every stream.
        encryption: Around the compression.
        recipients: Public keys that can read it.
        order_id: Of the order that it was taken for; a repeat of the order finds it.
        streams: In the order in which a restore needs them.
        locked_until: The store keeps every object until then, UTC; None without an object lock.
    """

    format: int = FORMAT
    backup_id: str
    target: str
    kind: str
    backup_class: str
    workspace: str
    schedule: str = ""
    order_id: str = ""
    instance: str
    started_at: datetime
    completed_at: datetime
    compression: str = "zstd"
    encryption: str = "age-x25519"
    recipients: tuple[str, ...]
    streams: tuple[StoredStream, ...]
    source: SourceFacts
    locked_until: datetime | None = None

    @property
    def stored_size(self) -> int:
        """Bytes of all objects."""
        return sum(item.size for stream in self.streams for item in stream.objects)

    @property
    def plain_size(self) -> int:
        """Bytes of all streams before compression."""
        return sum(stream.plain_size for stream in self.streams)

    @property
    def rows(self) -> int:
        """Of all contents together."""
        return sum(content.rows for content in self.source.contents)

    def stream(self, name: str) -> StoredStream:
        """The stream called `name`.

        Raises:
            DamagedError: The manifest has none.
        """
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise DamagedError(
            f"the manifest of {self.backup_id} has no stream {name!r}; there are: "
            f"{', '.join(stream.name for stream in self.streams) or 'none'}",
            advice="Restore from another backup.",
            stage=VerificationStage.STRUCTURE,
        )


class VerifyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one verification found; many of them may lie beside a manifest.

    Attributes:
        conclusive: The backup itself decided it; False when the verification could not be carried out.
        stages: That passed.
        failed_stage: The first that did not; None when all passed.
        rto_s: Measured, seconds; None when nothing was restored.
        durations_s: By stage.
    """

    backup_id: str
    verified_at: datetime
    instance: str
    conclusive: bool
    stages: tuple[VerificationStage, ...]
    failed_stage: VerificationStage | None = None
    message: str = ""
    rto_s: float | None = None
    durations_s: dict[str, float] = {}

    @property
    def passed(self) -> bool:
        """Everything was looked at and is right."""
        return self.conclusive and self.failed_stage is None


def new_backup_id(now: datetime, randomness: bytes) -> str:
    """An identity that sorts by time and can stand in a subject.

    Args:
        now: Aware.
        randomness: Four bytes.
    """
    return f"{now.astimezone(UTC):%Y%m%dt%H%M%S}z-{randomness.hex()}"


def is_backup_id(text: str) -> bool:
    """Whether `text` has the form of `new_backup_id`."""
    return _ID.fullmatch(text) is not None


_decoder = msgspec.json.Decoder(Manifest)


def decode_manifest(body: bytes, key: str) -> Manifest:
    """A manifest from its stored form.

    Raises:
        DamagedError: It is none, or of a later format than this build reads; names `key`.
    """
    try:
        manifest = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DamagedError(
            f"{key} is no manifest that can be read",
            advice="Look at the object: what wrote it was not Yaoki, or it was damaged.",
            stage=VerificationStage.STORED_BYTES,
        ) from None
    if manifest.format > FORMAT:
        raise DamagedError(
            f"{key} has format {manifest.format}; this build reads up to {FORMAT}",
            advice="Use the version of Yaoki that wrote it, or a later one.",
            stage=VerificationStage.STORED_BYTES,
        )
    return manifest

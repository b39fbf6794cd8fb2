"""The format of a stored stream: zstd inside age. `age -d -i key | zstd -d` reads it without Yaoki."""

from __future__ import annotations

import hashlib
from typing import Final, Protocol

import msgspec
import pyrage
import zstandard
from yaoki.events.backup import BackupFailureClass

from backup.errors import BackupError, StoreRefusedError

DEFAULT_LEVEL: Final = 1
_THREADS: Final = 2
_JOB_BYTES: Final = 1 << 20
_LARGEST_WINDOW: Final = 1 << 27
_READ_BYTES: Final = 1 << 16

Recipient = pyrage.x25519.Recipient
Identity = pyrage.x25519.Identity


class SupportsRead(Protocol):
    """A readable file, as far as a codec needs one."""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; empty at the end."""
        ...


class SupportsWrite(Protocol):
    """A writable file, as far as a codec needs one."""

    def write(self, data: bytes) -> int:
        """Take all of `data`."""
        ...

    def flush(self) -> None:
        """Pass on what is collected."""
        ...


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """Length and SHA-256 of a sequence of bytes."""

    size: int
    sha256: str


class Meter:
    """Counts and hashes bytes that pass."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def add(self, data: bytes) -> None:
        """Let `data` pass."""
        self._hash.update(data)
        self.size += len(data)

    def digest(self) -> Digest:
        """Of everything that has passed."""
        return Digest(size=self.size, sha256=self._hash.hexdigest())


class Compressor:
    """Meters plain bytes and compresses them, with the checksum that `zstd -d` looks at.

    Args:
        level: As of `zstd`.
    """

    def __init__(self, level: int = DEFAULT_LEVEL) -> None:
        # Without a bound on its jobs each thread holds several megabytes more.
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level, threads=_THREADS, job_size=_JOB_BYTES, write_checksum=True, write_content_size=False
        )
        self._compress = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self.plain = Meter()

    def step(self, data: bytes) -> bytes:
        """Compressed bytes that are ready after `data`; may be empty."""
        self.plain.add(data)
        return self._compress.compress(data)

    def finish(self) -> bytes:
        """The rest."""
        return self._compress.flush()


class Decompressor:
    """The reverse of `Compressor`; a few stored bytes may stand for very many, so it is asked piece by piece.

    Args:
        compressed: Where the compressed bytes come from.
    """

    def __init__(self, compressed: SupportsRead) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        self._reader = decompressor.stream_reader(
            compressed,  # type: ignore[arg-type]  # it calls read(n) only, whatever its stub says
            read_size=_READ_BYTES,
            read_across_frames=False,
        )
        self.plain = Meter()

    def read(self, size: int) -> bytes:
        """At most `size` plain bytes; empty at the end, also at that of a stream which was cut off.

        Raises:
            zstandard.ZstdError: Not zstd, or damaged.
        """
        plain: bytes = self._reader.read(size)
        self.plain.add(plain)
        return plain


def recipients_of(texts: tuple[str, ...]) -> list[Recipient]:
    """Public keys from their text form `age1...`.

    Raises:
        StoreRefusedError: None was given, or one is not a key; names it.
    """
    if not texts:
        raise StoreRefusedError("no recipient is configured: nobody could read the backup", advice=_KEY_ADVICE)
    return [_recipient(text) for text in texts]


def identity_of(text: str) -> Identity:
    """A private key from its text form `AGE-SECRET-KEY-1...`; comment lines of a key file are skipped.

    Raises:
        BackupError: It is none; never shows it.
    """
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    try:
        return Identity.from_str(keys[0] if keys else "")
    except pyrage.IdentityError:
        raise BackupError(
            "the age identity cannot be read: expected one line AGE-SECRET-KEY-1...",
            advice="Give the key file that `age-keygen` wrote, as a secret file:/path or env:NAME.",
            failure=BackupFailureClass.AUTHENTICATION,
        ) from None


def _recipient(text: str) -> Recipient:
    try:
        return Recipient.from_str(text)
    except pyrage.RecipientError:
        raise StoreRefusedError(
            f"recipient {text[:70]!r} is not an age public key: expected age1...", advice=_KEY_ADVICE
        ) from None


_KEY_ADVICE: Final = "Put the public key that `age-keygen` printed into backup.recipients."


def encrypt(plain: SupportsRead, sealed: SupportsWrite, recipients: list[Recipient]) -> None:
    """Encrypt everything that `plain` reads; blocks.

    Raises:
        pyrage.EncryptError: Also for whatever the reader or the writer raised.
        OSError: As above.
    """
    pyrage.encrypt_io(plain, sealed, recipients)  # type: ignore[arg-type]  # it calls read, write and flush only


def decrypt(sealed: SupportsRead, plain: SupportsWrite, identities: list[Identity]) -> None:
    """The reverse of `encrypt`; what was written before an error is authentic, but not all.

    Raises:
        pyrage.DecryptError: No identity fits; also for whatever the reader raised at the beginning.
        OSError: Damaged, cut off, or whatever the reader or the writer raised.
    """
    pyrage.decrypt_io(sealed, plain, identities)  # type: ignore[arg-type]  # it calls read, write and flush only

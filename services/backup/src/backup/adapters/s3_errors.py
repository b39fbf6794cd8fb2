"""What the answers of S3 mean: whether to repeat, and which class of failure they are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import botocore.exceptions
import urllib3.exceptions
from yaoki.events.backup import BackupFailureClass

from backup.errors import (
    BackupError,
    ObjectExistsError,
    ObjectLockedError,
    ObjectMissingError,
    StoreRefusedError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_MISSING: Final = {"NoSuchKey", "404", "NotFound"}
_EXISTS: Final = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_LOGIN: Final = {
    "AccessDenied",
    "AccountProblem",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "401",
    "403",
}
_FULL: Final = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507", "EntityTooLarge"}
_LATER: Final = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling", "429"}
_SERVER_ERROR: Final = 500
_STORAGE_FULL: Final = 507
_DROPPED: Final = (
    botocore.exceptions.ConnectionError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ResponseStreamingError,
    botocore.exceptions.IncompleteReadError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)


@contextmanager
def translated(key: str) -> Iterator[None]:
    """Raise errors of boto3 as those of the port; `key` is named in them."""
    try:
        yield
    except BackupError:
        raise
    except botocore.exceptions.ClientError as exc:
        raise _answered(key, exc) from exc
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError) as exc:
        raise refused(f"there are no credentials for {key}", "NoCredentialsError") from exc
    except _DROPPED as exc:
        raise StoreUnavailableError(
            f"the store did not answer for {key} ({type(exc).__name__})",
            advice="Look whether the store is up and reachable from here.",
        ) from exc
    except botocore.exceptions.BotoCoreError as exc:
        raise refused(f"the store cannot be used for {key}", type(exc).__name__) from exc


def refused(sentence: str, code: str) -> StoreRefusedError:
    """What repeating will not change, with its class and advice."""
    if code in _LOGIN or code == "NoCredentialsError":
        return StoreRefusedError(
            f"{sentence} ({code})",
            advice="Check the access key, its permissions and the clock of this machine.",
            failure=BackupFailureClass.AUTHENTICATION,
        )
    if code in _FULL:
        return StoreRefusedError(
            f"{sentence} ({code})", advice="Make room in the store.", failure=BackupFailureClass.CAPACITY
        )
    return StoreRefusedError(f"{sentence} ({code})", advice="Check bucket, region and endpoint of the repository.")


def _answered(key: str, exc: botocore.exceptions.ClientError) -> BackupError:
    code = exc.response.get("Error", {}).get("Code", "unknown")
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _MISSING:
        return ObjectMissingError(f"there is no object {key}", advice="List the repository to see what there is.")
    if code in _EXISTS:
        return ObjectExistsError(
            f"object {key} exists already with other content", advice="Nothing was written; choose another key."
        )
    if code == "ObjectLocked":
        return ObjectLockedError(f"object {key} is locked", advice="Wait until the lock lapses.")
    if code in _LATER or (status >= _SERVER_ERROR and status != _STORAGE_FULL and code not in _FULL):
        return StoreUnavailableError(
            f"the store failed for {key} ({code}, status {status})", advice="Look at the store's own logs."
        )
    return refused(f"the store refused {key}", "507" if status == _STORAGE_FULL else code)

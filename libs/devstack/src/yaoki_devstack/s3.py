"""SeaweedFS as an S3 endpoint, with versioned and object-locked buckets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import boto3
from botocore.config import Config
from typing_extensions import override

from yaoki_devstack.binaries import program
from yaoki_devstack.cleanup import LEFTOVERS_FILE
from yaoki_devstack.server import LocalServer, command_line
from yaoki_devstack.wire import http_get

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from types_boto3_s3 import S3Client

S3_ACCESS_KEY = "yaoki"
S3_SECRET_KEY = "yaoki-secret"  # noqa: S105 - of a throw-away server on loopback
S3_REGION = "us-east-1"

_GRPC_OFFSET = 10_000
_SOCKETS = "/tmp/seaweedfs-{component}-{port}.sock"  # noqa: S108 - where SeaweedFS itself puts them


class S3Server(LocalServer):
    """One SeaweedFS process; only the given credentials may do anything.

    Args:
        name: as for every server.
        directory: as for every server.
        port: as for every server.
        access_key: the one access key.
        secret_key: its secret.
        detached: as for every server.
    """

    program: ClassVar[str] = "weed"

    def __init__(
        self,
        *,
        name: str = "s3",
        directory: Path | None = None,
        port: int | None = None,
        access_key: str = S3_ACCESS_KEY,
        secret_key: str = S3_SECRET_KEY,
        detached: bool = False,
    ) -> None:
        super().__init__(name=name, directory=directory, port=port, detached=detached)
        self.access_key = access_key
        self.secret_key = secret_key
        self.region = S3_REGION
        # The built-in worker looks for the administration's gRPC port at this distance, whatever is
        # configured.
        self._ports.reserve_pair("admin.port", "admin.port.grpc", _GRPC_OFFSET)
        self._ports.reserve("s3.port.grpc")
        for component in ("master", "volume", "filer"):
            self._ports.reserve(f"{component}.port")
            self._ports.reserve(f"{component}.port.grpc")

    @property
    @override
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    @override
    def argv(self) -> list[str]:
        options = {
            "dir": self.data_dir,
            "ip": self.host,
            "ip.bind": self.host,
            **self._component_ports(),
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "volume.preStopSeconds": 0,
            "webdav": "false",
            "admin.ui": "false",
            "master.telemetry": "false",
        }
        # Its logs go to the system's temporary directory otherwise, and stay there.
        start: list[str | Path] = [program("weed"), f"-logdir={self.directory}", "mini"]
        return command_line([*start, *(f"-{name}={value}" for name, value in options.items())])

    @property
    @override
    def environment(self) -> Mapping[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    @override
    async def prepare(self) -> None:
        self.data_dir.mkdir(exist_ok=True)
        sockets = [
            _SOCKETS.format(component=option.replace(".port.grpc", "-grpc").removesuffix(".port"), port=port)
            for option, port in self._component_ports().items()
        ]
        (self.directory / LEFTOVERS_FILE).write_text("\n".join(sockets), encoding="utf-8")

    def _component_ports(self) -> dict[str, int]:
        """Return the ports by the name of their command line option."""
        return {"s3.port" if name == "main" else name: port for name, port in self._ports.numbers().items()}

    @override
    async def is_ready(self) -> bool:
        status, _ = await http_get(self.host, self.port, "/healthz")
        return status == 200  # noqa: PLR2004 - HTTP OK

    def client(self, *, port: int | None = None) -> S3Client:
        """Return a boto3 client (blocking: use it in a thread); `port` may be that of a proxy."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://{self.host}:{port or self.port}",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(
                # Stores that are not AWS reject the checksum trailers that boto3 sends by default.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"max_attempts": 10, "mode": "standard"},
            ),
        )

    async def create_bucket(self, name: str, *, versioned: bool = False, object_lock: bool = False) -> None:
        """Create a bucket; object lock implies versioning. Names have 3 to 63 characters."""
        await asyncio.to_thread(self._create_bucket, name, versioned=versioned, object_lock=object_lock)

    def _create_bucket(self, name: str, *, versioned: bool, object_lock: bool) -> None:
        client = self.client()
        try:
            client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=object_lock)
            if versioned and not object_lock:
                client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        finally:
            client.close()

"""The probe kinds. A new one is a module beside this file and a row in `KINDS`."""

from typing import Final

from yaoki.config import Extension
from yaoki.config.targets import BUILT_IN_KINDS

from health_probe.kinds import ProbeKind
from health_probe.probes import (
    backup_freshness,
    command,
    cpu,
    disk,
    dns,
    filesystem,
    heartbeat,
    http,
    memory,
    metric,
    nats,
    postgres,
    process,
    redis,
    s3,
    tcp,
    tls,
)

KINDS: Final[tuple[ProbeKind, ...]] = (
    postgres.KIND,
    redis.KIND,
    http.KIND,
    tcp.KIND,
    tls.KIND,
    dns.KIND,
    nats.KIND,
    s3.KIND,
    filesystem.KIND,
    memory.KIND,
    cpu.KIND,
    disk.KIND,
    process.KIND,
    command.KIND,
    heartbeat.KIND,
    backup_freshness.KIND,
    metric.KIND,
)

EXTENSION: Final = Extension(target_kinds=tuple(kind.target for kind in KINDS if kind.target not in BUILT_IN_KINDS))

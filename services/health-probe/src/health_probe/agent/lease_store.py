"""The lease record in KV, typed, with what is remembered of it on this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import FatalError, TransientError
from yaoki.leases import ClusterLease

from health_probe.agent.durable import read_state, sync_directory, write_state
from health_probe.agent.reconcile import Seen

if TYPE_CHECKING:
    from pathlib import Path

    from yaoki.messaging.ports import Entry, KeyValue


class LeaseStore:
    """Reads and writes the record of one cluster.

    What it was last is kept on disk. A record of a lower epoch than one seen before (a NATS that was restored from an
    older copy) is not believed, and a cluster that is known is not founded again.

    A host without any such memory is new, or has lost it. That is kept on disk, too, until the host has held the lease:
    what it has merely read since may itself be from the past.

    Args:
        clusters: The KV bucket `clusters`.
        cluster: The key.
        state_file: Where the last record is kept.
    """

    def __init__(self, clusters: KeyValue, cluster: str, state_file: Path) -> None:
        self._clusters = clusters
        self._cluster = cluster
        self.state_file = state_file
        self._without_memory = state_file.with_name(f"{state_file.stem}.without-memory")
        try:
            state = read_state(state_file)
            self.remembered = None if state is None else msgspec.convert(state, ClusterLease)
        except (ValueError, msgspec.ValidationError) as exc:
            raise FatalError(
                f"{state_file} cannot be read; it keeps an old primary from starting again. Restore it, or remove it "
                "when this member is known to be in line with the present primary"
            ) from exc
        if self.remembered is None:
            write_state(self._without_memory, {})

    @property
    def remembers(self) -> bool:
        """What NATS shows can be compared with something that this host knows for certain."""
        return not self._without_memory.exists()

    async def read(self) -> Seen:
        """The record as it is now.

        Raises:
            TransientError: NATS does not answer, or shows a record from the past.
        """
        return self.interpret(await self._clusters.get(self._cluster))

    def interpret(self, entry: Entry | None) -> Seen:
        """What an entry of the bucket says; see `read`."""
        if entry is None or entry.value is None:
            return Seen(record=None, revision=0)
        try:
            record = msgspec.json.decode(entry.value, type=ClusterLease)
        except msgspec.MsgspecError as exc:
            raise TransientError(f"the lease record clusters/{self._cluster} is no ClusterLease: {exc}") from exc
        self._refuse_the_past(record)
        return Seen(record=record, revision=entry.revision)

    def _refuse_the_past(self, record: ClusterLease) -> None:
        known = self.remembered
        if known is None or record.epoch > known.epoch:
            self._remember(record)
        elif record.epoch < known.epoch:
            raise TransientError(
                f"the lease record clusters/{self._cluster} is at epoch {record.epoch}, but {known.epoch} was seen "
                f"before (holder {known.holder!r}); NATS has been set back. Put a record with the right holder there"
            )

    def _remember(self, record: ClusterLease) -> None:
        write_state(self.state_file, msgspec.to_builtins(record))
        self.remembered = record

    async def write(self, record: ClusterLease, revision: int) -> int:
        """Write over `revision`; return the new one. Raises ConflictError, TransientError."""
        written = await self._clusters.update(self._cluster, msgspec.json.encode(record), revision=revision)
        self._took(record)
        return written

    async def create(self, record: ClusterLease) -> int:
        """Write the first record; return its revision. Raises ConflictError, TransientError."""
        written = await self._clusters.create(self._cluster, msgspec.json.encode(record))
        self._took(record)
        return written

    def _took(self, record: ClusterLease) -> None:
        self._refuse_the_past(record)
        if not self.remembers:
            self._without_memory.unlink()
            sync_directory(self._without_memory.parent)

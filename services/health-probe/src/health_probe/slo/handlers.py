"""What the slo role answers over NATS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.commands.slo import (
    AnnounceMaintenance,
    CancelMaintenance,
    ListMaintenance,
    SlaReport,
    SloReport,
    SloStatus,
    StatusReply,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.messaging import Messaging

    from health_probe.slo.desk import MaintenanceDesk
    from health_probe.slo.levels import Levels


class SloHandlers:
    """`api.slo.*`."""

    def __init__(self, levels: Levels, desk: MaintenanceDesk, instance: str, writing: Callable[[], bool]) -> None:
        self._levels = levels
        self._desk = desk
        self._instance = instance
        self._writing = writing

    def serve(self, messaging: Messaging) -> None:
        """Register every endpoint."""
        messaging.serve(SloStatus, self.status)
        messaging.serve(SloReport, self.report)
        messaging.serve(AnnounceMaintenance, self._desk.announce)
        messaging.serve(ListMaintenance, self._desk.list_windows)
        messaging.serve(CancelMaintenance, self._desk.cancel)

    async def status(self, request: SloStatus) -> StatusReply:
        """The running month of one service or of all."""
        services = await self._levels.statuses(request)
        return StatusReply(services=services, instance=self._instance, writer=self._writing())

    async def report(self, request: SloReport) -> SlaReport:
        """The report of a month."""
        return await self._levels.report(request)

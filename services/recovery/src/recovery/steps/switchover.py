"""The steps of a switchover that are taken in this process, beside those of a failover."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yaoki import faults
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

from recovery.candidates import NoCandidate
from recovery.restoration import serves
from recovery.switchover import Healthy, choose_successor, has_everything

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.plans import Order
    from yaoki.runs.actions import Handler

    from recovery.cluster_members import ClusterMembers
    from recovery.fencing import Fence
    from recovery.ports import Flags

_LOOK_AGAIN_S = 0.1
_REPLY_S = 1.0


class SwitchoverSteps:
    """Check, confirm, and the way back.

    Args:
        members: Of all clusters.
        reinstate: The failover's step of this name.
    """

    def __init__(
        self, members: ClusterMembers, *, fence: Fence, flags: Flags, reinstate: Handler, clock: Clock
    ) -> None:
        self._members = members
        self._fence = fence
        self._flags = flags
        self._reinstate = reinstate
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """By action name."""
        return {
            "check-successor": self.check_successor,
            "confirm-successor": self.confirm_successor,
            "serve-again": self.serve_again,
        }

    async def check_successor(self, order: Order) -> ActionResult:
        """The cluster is still as it was when the switchover was ordered; nothing was done when it is not."""
        chosen = choose_successor(await self.look(str(order.params["cluster"])), str(order.params["to"]))
        if isinstance(chosen, NoCandidate):
            raise PreconditionFailedError(chosen.reason)
        if chosen.previous != order.params["previous"]:
            raise PreconditionFailedError(f"{chosen.previous} has become the primary meanwhile")
        return ActionResult(result={"lag_bytes": chosen.lag_bytes, "followers": list(chosen.followers)})

    async def confirm_successor(self, order: Order) -> ActionResult:
        """Return when the successor has replayed the last record of the old primary; answers as `choose-candidate`.

        Params: `to`, and `position` and `timeline` of that record.
        """
        cluster, to = str(order.params["cluster"]), str(order.params["to"])
        position, timeline = int(order.params["position"]), int(order.params["timeline"])
        faults.point("recovery.old-primary-stopped")
        while True:
            others = await self._members.answers(cluster, self._members.settings(cluster).members)
            status = next((one for one in others if one.member == to), None)
            if has_everything(status, position=position, timeline=timeline):
                return ActionResult(
                    result={
                        "candidate": to,
                        "agent": self._members.worker(cluster, to),
                        "timeline": timeline,
                        "lsn": position,
                        "lag_bytes": 0,
                        "followers": [one.member for one in others if one.running and one.member != to],
                    }
                )
            if (order.expires_at - self._clock.now()).total_seconds() < _REPLY_S:
                found = (
                    "does not answer" if status is None else f"is a {status.role} that has replayed {status.replayed}"
                )
                raise ActionFailedError(f"{to} {found}; expected a standby that has replayed the record at {position}")
            await self._clock.sleep(_LOOK_AGAIN_S)

    async def serve_again(self, order: Order) -> ActionResult:
        """Lead clients to the old primary again, started by its agent where it was stopped.

        Nothing is done once another member holds the lease. The route stays cut while the old primary does not serve:
        then it is for the restorer.
        """
        cluster, holder = str(order.params["cluster"]), str(order.params["holder"])
        found = await self._fence.read(cluster)
        if found is None or found.record.holder != holder:
            return ActionResult(result={"serves": False, "why": f"{holder} does not hold the lease any more"})
        status = await self._members.status(cluster, holder)
        if not found.record.revoked_by and status is not None:
            if serves(found.record, status):
                route = self._members.route_to(
                    cluster,
                    holder,
                    epoch=order.epoch,
                    since=self._clock.now(),
                    reason=f"{holder} goes on after run {order.run_id}",
                )
                await self._flags.publish_route(route, by=order.run_id)
                return ActionResult(result={"serves": True, "holder": holder})
            if status.running:
                return ActionResult(result={"serves": False, "why": f"{holder} is about to serve again by itself"})
            # Its agent has given the lease up by order, and takes it again only with a new epoch.
            await self._fence.revoke(cluster, order.run_id, order.epoch)
        return await self._reinstate(order)

    async def look(self, cluster: str) -> Healthy:
        """What a choice rests on, asked now."""
        settings = self._members.settings(cluster)
        found = await self._fence.read(cluster)
        holder = "" if found is None else found.record.holder
        status, standbys = await asyncio.gather(
            self._members.status(cluster, holder), self._members.answers(cluster, set(settings.members) - {holder})
        )
        return Healthy(
            record=None if found is None else found.record,
            holder=status,
            standbys=standbys,
            members=settings.members,
            max_lag_bytes=settings.max_lag_bytes,
        )

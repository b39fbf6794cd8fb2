"""The steps of a PostgreSQL failover that are taken in this process. Orders to agents are no business of this file.

All of them may be repeated and may run in two instances at once: what they change, they change by compare-and-set with
the order's epoch, so that a leader that has been replaced is refused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from yaoki.events.recovery import PrimaryPromoted
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

from recovery.candidates import Candidate, NoCandidate, choose_candidate
from recovery.confirmation import Finding, Observation, Verdict, judge
from recovery.failover import agent_worker
from recovery.fencing import Fence, LeaseVersion, agent_proves_fenced
from recovery.restoration import serves, waits_to_be_promoted

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.commands.agent import AgentStatus
    from yaoki.leases import ClusterLease
    from yaoki.messaging.ports import EventPublisher
    from yaoki.plans import Order
    from yaoki.runs.actions import Handler

    from recovery.cluster_members import ClusterMembers
    from recovery.ports import Flags

_LOOK_AGAIN_S = 0.25
_REPLY_S = 1.0


class DatabaseSteps:
    """Confirm, revoke, cut, prove, choose, publish; and the way back.

    Args:
        members: Of all clusters.
    """

    def __init__(
        self,
        members: ClusterMembers,
        *,
        fence: Fence,
        flags: Flags,
        publisher: EventPublisher,
        clock: Clock,
    ) -> None:
        self._members = members
        self._fence = fence
        self._flags = flags
        self._publisher = publisher
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """By action name."""
        return {
            "confirm-primary-lost": self.confirm_primary_lost,
            "revoke-lease": self.revoke_lease,
            "reinstate-holder": self.reinstate_holder,
            "confirm-holder": self.confirm_holder,
            "cut-route": self.cut_route,
            "prove-fenced": self.prove_fenced,
            "choose-candidate": self.choose_candidate,
            "publish-route": self.publish_route,
        }

    async def confirm_primary_lost(self, order: Order) -> ActionResult:
        """Wait for a second, independent signal; none until the deadline means that nothing is done."""
        observations: list[Observation] = []
        while True:
            observations.append(await self._observe(order))
            verdict = judge(observations)
            if verdict.finding is Finding.LOST:
                return ActionResult(result={"signal": verdict.signal})
            if verdict.finding is Finding.ALIVE or self._left(order) < _REPLY_S:
                raise PreconditionFailedError(_unconfirmed(verdict))
            await self._clock.sleep(_LOOK_AGAIN_S)

    async def revoke_lease(self, order: Order) -> ActionResult:
        """Take the lease from its holder, on the exact revision that was read."""
        version = await self._fence.revoke(_cluster(order), order.run_id, order.epoch)
        record = version.record
        if not record.holder:
            raise ActionFailedError(f"nobody holds the lease of {record.cluster!r}; expected the old primary's name")
        member = record.members.get(record.holder)
        configured = self._members.settings(record.cluster).members.get(record.holder)
        if member is None and configured is None:
            raise ActionFailedError(
                f"holder {record.holder!r} of {record.cluster!r} is no member in the lease record or the "
                "configuration; give it an entry under postgres_clusters.<cluster>.members"
            )
        agent = member.agent if member else agent_worker(configured.agent if configured else "")
        return ActionResult(
            result={
                "holder": record.holder,
                "agent": agent,
                "revision": version.revision,
                "timeline": record.timeline,
                "position": record.position,
            }
        )

    async def reinstate_holder(self, order: Order) -> ActionResult:
        """Take a revocation back when nobody was promoted and the old holder's agent is there to serve again.

        The route is published only when the old primary serves. Until then it stays cut.

        Params: `revoked_by`: the run whose revocation it is; this one when left out.
        """
        cluster = _cluster(order)
        found = await self._fence.read(cluster)
        revoked_by = str(order.params.get("revoked_by", order.run_id))
        if found is None or found.record.revoked_by != revoked_by:
            return ActionResult(result={"reinstated": False, "why": f"the lease is not revoked by {revoked_by}"})
        if await self._members.status(cluster, found.record.holder) is None:
            return ActionResult(result={"reinstated": False, "why": "the old holder's agent does not answer"})
        version = await self._fence.reinstate(cluster, revoked_by, order.epoch)
        if version is None:
            return ActionResult(result={"reinstated": False, "why": "somebody else holds the lease"})
        member = version.record.holder
        status = await self._wait_for_holder(order, version.record)
        if status is None or not serves(version.record, status):
            return ActionResult(result={"reinstated": True, "holder": member, "serves": False})
        await self._publish(order, member, f"{member} was reinstated by run {order.run_id}")
        return ActionResult(result={"reinstated": True, "holder": member, "serves": True})

    async def confirm_holder(self, order: Order) -> ActionResult:
        """Wait until the holder of the lease serves, or is a standby that is still to be promoted.

        The result is what `choose-candidate` answers: nobody has to be chosen, because somebody holds the lease.
        """
        cluster = _cluster(order)
        found = await self._fence.read(cluster)
        if found is None or found.record.revoked_by or not found.record.holder:
            raise PreconditionFailedError(f"nobody holds the lease of {cluster!r}")
        record = found.record
        status = await self._wait_for_holder(order, record)
        if status is None:
            raise ActionFailedError(f"the server of {record.holder}, who holds the lease, does not accept connections")
        standbys = await self._members.answers(cluster, set(self._members.settings(cluster).members) - {record.holder})
        waiting = waits_to_be_promoted(record, status)
        return ActionResult(
            result={
                "candidate": record.holder,
                "agent": self._members.worker(cluster, record.holder),
                "lag_bytes": max(0, record.position - max(status.received, status.replayed)) if waiting else 0,
                "followers": [one.member for one in standbys if one.running],
            }
        )

    async def cut_route(self, order: Order) -> ActionResult:
        """Tell clients to send nothing until a primary with a new epoch is published."""
        await self._flags.cut_route(
            _cluster(order),
            epoch=order.epoch,
            by=order.run_id,
            reason=f"the primary is being replaced by run {order.run_id}",
        )
        return ActionResult(result={"epoch": list(msgspec.structs.astuple(order.epoch))})

    async def prove_fenced(self, order: Order) -> ActionResult:
        """Return only when the old holder can no longer write; see `recovery.fencing`."""
        cluster = _cluster(order)
        while True:
            version = await self._revoked(order)
            if agent_proves_fenced(version.record, await self._members.status(cluster, version.record.holder)):
                return ActionResult(result={"proof": "agent", "holder": version.record.holder})
            left = self._fence.remaining(version)
            if left <= 0 and not order.params.get("by_agent_only", False):
                return ActionResult(result={"proof": "lease-lapsed", "holder": version.record.holder})
            if left <= 0 and self._left(order) < _REPLY_S:
                raise ActionFailedError(
                    f"the agent of {version.record.holder} has not said that its server is stopped, and only that "
                    "proves it here; stop the server's host, then order the chain again"
                )
            await self._clock.sleep(min(left, _LOOK_AGAIN_S) if left > 0 else _LOOK_AGAIN_S)

    async def choose_candidate(self, order: Order) -> ActionResult:
        """Choose now, from what the agents answer now."""
        while True:
            choice = choose_candidate(await self._members.snapshot((await self._revoked(order)).record))
            if isinstance(choice, Candidate):
                return ActionResult(
                    result={
                        "candidate": choice.member,
                        "agent": self._members.worker(_cluster(order), choice.member),
                        "timeline": choice.timeline,
                        "lsn": choice.position,
                        "lag_bytes": choice.lag_bytes,
                        "followers": list(choice.followers),
                    }
                )
            if not choice.may_pass or self._left(order) < _REPLY_S:
                raise ActionFailedError(_nobody(choice))
            await self._clock.sleep(_LOOK_AGAIN_S)

    async def publish_route(self, order: Order) -> ActionResult:
        """Send the clients to the primary, and say that it was promoted if it is another one than before."""
        member, previous = str(order.params["member"]), str(order.params["previous"])
        if member == previous:
            await self._publish(order, member, f"{member} was found serving by run {order.run_id}")
            return _published(order, member)
        await self._publish(order, member, f"{member} was promoted by run {order.run_id}")
        await self._publisher.publish(
            PrimaryPromoted(
                cluster=_cluster(order),
                member=member,
                epoch=order.epoch,
                previous=previous,
                timeline=int(order.params["timeline"]),
                lag_bytes=int(order.params["lag_bytes"]),
            ),
            event_id=f"promoted.{order.run_id}",
            correlation=order.incident_id or order.run_id,
        )
        return _published(order, member)

    async def _wait_for_holder(self, order: Order, record: ClusterLease) -> AgentStatus | None:
        """The answer of the holder's agent once it is of use; None when it is not before the order expires."""
        while True:
            status = await self._members.status(record.cluster, record.holder)
            if status is not None and (serves(record, status) or waits_to_be_promoted(record, status)):
                return status
            if self._left(order) < _REPLY_S:
                return None
            await self._clock.sleep(_LOOK_AGAIN_S)

    async def _observe(self, order: Order) -> Observation:
        cluster = _cluster(order)
        found = await self._fence.read(cluster)
        if found is None:
            raise PreconditionFailedError(
                f"cluster {cluster!r} has no lease record, so its primary cannot be fenced; start its agents"
            )
        others = set(self._members.settings(cluster).members) - {found.record.holder}
        holder, standbys = await asyncio.gather(
            self._members.status(cluster, found.record.holder), self._members.answers(cluster, others)
        )
        return Observation(
            record=found.record,
            unchanged_s=self._clock.monotonic() - found.received,
            holder=holder,
            standbys=standbys,
        )

    async def _revoked(self, order: Order) -> LeaseVersion:
        found = await self._fence.read(_cluster(order))
        if found is None or found.record.revoked_by != order.run_id:
            holder = "nobody" if found is None else found.record.holder or "nobody"
            raise ActionFailedError(
                f"the lease of {_cluster(order)!r} is no longer revoked by this run ({holder} holds it)"
            )
        return found

    async def _publish(self, order: Order, member: str, reason: str) -> None:
        route = self._members.route_to(
            _cluster(order), member, epoch=order.epoch, since=self._clock.now(), reason=reason
        )
        await self._flags.publish_route(route, by=order.run_id)

    def _left(self, order: Order) -> float:
        return (order.expires_at - self._clock.now()).total_seconds()


def _cluster(order: Order) -> str:
    return str(order.params["cluster"])


def _published(order: Order, member: str) -> ActionResult:
    return ActionResult(result={"primary": member, "epoch": list(msgspec.structs.astuple(order.epoch))})


def _unconfirmed(verdict: Verdict) -> str:
    return f"the primary's loss is not confirmed by a second signal: {verdict.signal}"


def _nobody(choice: NoCandidate) -> str:
    return f"no standby may be promoted: {choice.reason}"

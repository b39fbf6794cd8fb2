"""The fenced failover of a PostgreSQL cluster as one branch of a plan. Pure.

The order of the steps is the safety argument: two independent signals, the lease revoked, the clients' route cut, the
old primary stopped, the proof that it is fenced, and only then the choice and the promotion. No proof, no promotion.
Everything before `promote` can be taken back; `promote` is the pivot, after which the run only goes forward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Call, Step, StepKind

if TYPE_CHECKING:
    from yaoki.config.clusters import PostgresCluster

RECOVERY = "recovery"
_STATUS_S = 5.0
_CHOOSE_S = 20.0
_FOLLOW_S = 10.0
_CHECKPOINT_S = 5.0
PROMOTION_S = 60.0


def agent_worker(agent: str) -> str:
    """Worker name of the agent that the configuration calls `agent`."""
    return f"agent-{agent}"


def failover_branch(
    cluster: str, settings: PostgresCluster, *, verify: Call | None, timeout_s: float = PROMOTION_S
) -> Branch:
    """The steps that move the primary of `cluster` to a standby.

    Args:
        cluster: Name in `postgres_clusters`.
        settings: That entry.
        verify: Fresh proof that the target is well again.
        timeout_s: For the promotion, which replays all WAL that the standby has received.
    """
    choice = Step(
        id="choose-candidate",
        do=local("choose-candidate", cluster=cluster),
        attempts=2,
        timeout_s=_CHOOSE_S,
    )
    promotion = promotion_steps(cluster, settings, choice, previous="${revoke-lease.holder}", timeout_s=timeout_s)
    steps = (*_fencing(cluster, settings), *promotion)
    return Branch(name="switch-database", steps=steps, verify=verify, verify_timeout_s=15.0)


def holder_branch(
    cluster: str,
    settings: PostgresCluster,
    *,
    verify: Call | None,
    previous: str,
    revoked_by: str,
    lag_bytes: int | None,
) -> Branch:
    """The steps that lead clients to who holds the lease: nobody is fenced, because nobody else can be writing.

    Args:
        cluster: Name in `postgres_clusters`.
        settings: That entry.
        verify: Fresh proof that the target is well again, where there is a target.
        previous: Whom clients went to before.
        revoked_by: The run that has revoked the lease, which is given back first; empty when it is held.
        lag_bytes: As `PrimaryPromoted.lag_bytes`; None: what the holder itself lacks now.
    """
    back = Step(
        id="reinstate-holder",
        do=local("reinstate-holder", cluster=cluster, revoked_by=revoked_by),
        attempts=2,
    )
    confirmation = Step(id="confirm-holder", do=local("confirm-holder", cluster=cluster), attempts=2)
    # One that is the primary already answers the order to promote it that it is.
    promotion = promotion_steps(cluster, settings, confirmation, previous=previous, lag_bytes=lag_bytes)
    steps = (*((back,) if revoked_by else ()), *promotion)
    return Branch(name="serve-holder", steps=steps, verify=verify, verify_timeout_s=15.0)


def fallback_branch(cluster: str, settings: PostgresCluster, *, verify: Call) -> Branch:
    """The steps that lead clients to the static backup database, once the primary is proven fenced."""
    steps = (
        Step(id="check-fallback", do=local("check-fallback", cluster=cluster), timeout_s=10.0),
        *_fencing(cluster, settings, mark="-for-fallback"),
        Step(
            id="route-to-fallback",
            do=local("route-to-fallback", cluster=cluster),
            kind=StepKind.PIVOT,
            attempts=3,
        ),
    )
    return Branch(name="switch-to-fallback", steps=steps, verify=verify, verify_timeout_s=15.0)


def local(action: str, **params: object) -> Call:
    """An action of this service."""
    return Call(worker=RECOVERY, action=action, params=params)


def _fencing(cluster: str, settings: PostgresCluster, mark: str = "") -> tuple[Step, ...]:
    """Ids are unique in a plan: `mark` tells the second use of these steps from the first."""
    lease_s = settings.lease.ttl + settings.lease.margin
    return (
        Step(
            id=f"confirm-primary-lost{mark}",
            do=local("confirm-primary-lost", cluster=cluster),
            attempts=3,
            timeout_s=settings.lease.ttl + _STATUS_S,
        ),
        Step(
            id=f"revoke-lease{mark}",
            do=local("revoke-lease", cluster=cluster),
            undo=local("reinstate-holder", cluster=cluster),
            attempts=3,
        ),
        Step(id=f"cut-route{mark}", do=local("cut-route", cluster=cluster), attempts=3),
        Step(
            id=f"stop-old-primary{mark}",
            do=Call(
                worker=f"${{revoke-lease{mark}.agent}}",
                action="postgres.stop",
                params={"mode": "fast"},
            ),
            # A host that is gone never answers; by then the passing of the lease is the proof anyway.
            timeout_s=lease_s + 1.0,
            required=False,
        ),
        Step(
            id=f"prove-fenced{mark}",
            # Time proves nothing to a fallback: cut off from NATS together with its standbys, the old primary goes on
            # by their grants. A promotion is refused by the very grant; a static database grants and refuses nothing.
            do=local("prove-fenced", cluster=cluster, by_agent_only=bool(mark)),
            # Three instances may die and each successor waits the whole lease again within its own attempt.
            timeout_s=2 * lease_s + _STATUS_S,
            attempts=3,
        ),
    )


def promotion_steps(
    cluster: str,
    settings: PostgresCluster,
    chosen: Step,
    *,
    previous: str,
    lag_bytes: int | None = None,
    timeout_s: float = PROMOTION_S,
) -> tuple[Step, ...]:
    """The step `chosen`, then: promote whom it names, lead clients there, have the others follow.

    Args:
        cluster: Name in `postgres_clusters`.
        settings: That entry.
        chosen: Results in `candidate`, `agent` (its worker), `followers` and, unless given here, `lag_bytes`.
        previous: Whom clients went to before; may be a reference.
        lag_bytes: As `PrimaryPromoted.lag_bytes`.
        timeout_s: For the promotion.
    """
    candidate = f"${{{chosen.id}.agent}}"
    return (
        chosen,
        Step(
            id="promote",
            do=Call(worker=candidate, action="postgres.promote", params={"timeout_s": timeout_s}),
            kind=StepKind.PIVOT,
            attempts=3,
            timeout_s=timeout_s,
        ),
        Step(
            id="adjust-synchronous",
            do=Call(
                worker=candidate,
                action="postgres.set-synchronous",
                params={"standbys": f"${{{chosen.id}.followers}}", "wanted": settings.synchronous},
            ),
            kind=StepKind.FORWARD,
            attempts=3,
        ),
        Step(
            id="prove-writable",
            do=Call(worker=candidate, action="postgres.write-check"),
            kind=StepKind.FORWARD,
            attempts=3,
        ),
        Step(
            # pg_rewind on the old primary needs to see the new timeline in the control file.
            id="checkpoint",
            do=Call(worker=candidate, action="postgres.checkpoint"),
            kind=StepKind.FORWARD,
            required=False,
            timeout_s=_CHECKPOINT_S,
        ),
        Step(
            id="publish-route",
            do=local(
                "publish-route",
                cluster=cluster,
                member=f"${{{chosen.id}.candidate}}",
                timeline="${promote.timeline}",
                lag_bytes=f"${{{chosen.id}.lag_bytes}}" if lag_bytes is None else lag_bytes,
                previous=previous,
            ),
            kind=StepKind.FORWARD,
            attempts=5,
        ),
        *_following(settings, chosen),
    )


def _following(settings: PostgresCluster, chosen: Step) -> tuple[Step, ...]:
    """Every member is told at once to follow; the new primary itself skips the order."""
    return tuple(
        Step(
            id=f"follow-{name}",
            do=Call(
                worker=agent_worker(member.agent),
                action="postgres.follow",
                params={"primary": f"${{{chosen.id}.candidate}}"},
            ),
            kind=StepKind.FORWARD,
            required=False,
            group="follow",
            timeout_s=_FOLLOW_S,
        )
        for name, member in settings.members.items()
    )

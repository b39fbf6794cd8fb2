"""This prober's lease among the probers, and who else holds one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog
from yaoki.errors import ConflictError, FatalError, TransientError
from yaoki.tasks import EndingGroup

from health_probe.roster import SPEAKING_SHARE, Member, Roster, Signs

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.messaging.ports import Entry, KeyValue

PREFIX: Final = "prober."
_RENEWALS_PER_LEASE: Final = 4
_KEPT_LEASES: Final = 20
"""A key nobody renews is of no use after the probers have seen that; it lapses so that names do not pile up."""
_RETRY_S: Final = 0.2
_log = structlog.get_logger(__name__)


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Value of `prober.<vantage>.<instance>` in the bucket `leases`.

    Attributes:
        boot: This process: another one of the same name has another.
        renewals: Counts them, so that the holder knows its own when they come back.
    """

    boot: str
    renewals: int = 0


class Follower(Protocol):
    """Acts on who is alive. Synchronous."""

    def on_roster(self, roster: Roster) -> None:
        """The probers that are alive have changed."""
        ...

    def on_return(self) -> None:
        """This prober had lost its lease and has it again: others may have taken its targets over meanwhile."""
        ...


class Membership:
    """Keeps the lease.

    Args:
        leases: The bucket.
        me: This prober.
        boot: This process.
        ttl_s: How long a lease outlives its last renewal, seconds.
    """

    def __init__(self, leases: KeyValue, *, me: Member, boot: str, clock: Clock, ttl_s: float) -> None:
        self._leases = leases
        self._me = me
        self._boot = boot
        self._clock = clock
        self._ttl_s = ttl_s
        self._key = f"{PREFIX}{me.vantage}.{me.name}"
        self._revision = 0
        self._renewals = 0
        self._sent: dict[int, float] = {}
        self._deadline: float | None = None
        self._lapsed = False
        self._signs = Signs(horizon=clock.monotonic())
        self._follower: Follower | None = None
        self.roster = Roster()

    def tell(self, follower: Follower) -> None:
        """Who acts on changes."""
        self._follower = follower

    @property
    def me(self) -> Member:
        """This prober."""
        return self._me

    def may_speak(self) -> bool:
        """Whether nobody else can have taken this prober's targets over yet."""
        return self._deadline is not None and self._clock.monotonic() < self._deadline

    async def join(self) -> None:
        """Take the lease, and find the others.

        Raises:
            TransientError: NATS does not answer.
        """
        for entry in await self._leases.entries(PREFIX):
            self._see(entry)
        before = await self._leases.get(self._key)
        if before is not None:
            self._revision = before.revision  # of a process of the same name that is gone, or is about to end
        await self._renew()
        self._announce()

    async def run(self) -> None:
        """Hold the lease for ever.

        Raises:
            FatalError: Another process has the same name.
        """
        async with EndingGroup() as group:
            group.create_task(self._keep(), name="lease")
            group.create_task(self._follow(), name="other probers")

    async def leave(self) -> None:
        """Give the lease back, so that the others take over at once. Raises what the bucket raises."""
        self._deadline = None
        try:
            await self._leases.delete(self._key, revision=self._revision)
        except ConflictError:
            # A renewal was on its way when this prober was stopped: it is stored, and its revision not known here.
            entry = await self._leases.get(self._key)
            if entry is None or entry.value is None or _read(entry).boot != self._boot:
                return
            await self._leases.delete(self._key, revision=entry.revision)

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(self._ttl_s / _RENEWALS_PER_LEASE if self.may_speak() else _RETRY_S)
            try:
                await self._renew()
            except TransientError as exc:
                _log.warning("lease not renewed", error=exc.message)
            self._announce()

    async def _renew(self) -> None:
        sent = self._clock.monotonic()
        number = self._renewals = self._renewals + 1
        self._sent[number] = sent
        value = msgspec.json.encode(LeaseRecord(boot=self._boot, renewals=number))
        kept_s = self._ttl_s * _KEPT_LEASES
        try:
            if self._revision:
                revision = await self._leases.update(self._key, value, revision=self._revision, ttl_s=kept_s)
            else:
                revision = await self._leases.create(self._key, value, ttl_s=kept_s)
        except ConflictError:
            await self._settle()
            return
        self._revision = revision
        self._lapsed = self._lapsed or (self._deadline is not None and not self.may_speak())
        self._deadline = sent + self._ttl_s * SPEAKING_SHARE
        if self._lapsed and self.may_speak():
            self._lapsed = False
            self._signs = self._signs.after_a_gap(self._clock.monotonic())
            _log.warning("lease had lapsed and is held again", prober=self._me.name, vantage=self._me.vantage)
            if self._follower is not None:
                self._follower.on_return()

    async def _settle(self) -> None:
        """Another write than ours lies there, or none: our own whose answer was lost, a lapsed key, a namesake."""
        entry = await self._leases.get(self._key)
        if entry is None or entry.value is None:
            self._revision = 0
            return
        if _read(entry).boot != self._boot:
            raise FatalError(
                f"another prober of vantage {self._me.vantage!r} runs as --instance {self._me.name}; "
                "give each process a name of its own"
            )
        self._revision = entry.revision

    async def _follow(self) -> None:
        while True:
            try:
                async for entry in self._leases.watch(PREFIX):
                    self._see(entry)
                    self._announce()
            except TransientError as exc:
                _log.warning("other probers are not followed, trying again", error=exc.message)
            await self._clock.sleep(_RETRY_S)

    def _see(self, entry: Entry) -> None:
        vantage, _, name = entry.key.removeprefix(PREFIX).partition(".")
        member = Member(vantage, name)
        if member == self._me:
            if entry.value is not None:
                self._see_own(entry)
        elif entry.value is None:
            self._signs = self._signs.gone(member)
        else:
            self._signs = self._signs.renewed(member, self._clock.monotonic())

    def _see_own(self, entry: Entry) -> None:
        record = _read(entry)
        if record.boot == self._boot and record.renewals in self._sent:
            self._signs = self._signs.own(self._sent[record.renewals])
            self._sent = {number: at for number, at in self._sent.items() if number > record.renewals}

    def _announce(self) -> None:
        """Tell the follower who is alive, unless this prober cannot know."""
        if not self.may_speak():
            return
        roster = Roster(self._signs.alive(self._ttl_s) | {self._me})
        if roster != self.roster:
            self.roster = roster
            names = sorted(f"{member.vantage}/{member.name}" for member in roster.members)
            _log.info("probers", alive=names)
            if self._follower is not None:
                self._follower.on_roster(roster)


def _read(entry: Entry) -> LeaseRecord:
    try:
        return msgspec.json.decode(entry.value or b"", type=LeaseRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return LeaseRecord(boot="")

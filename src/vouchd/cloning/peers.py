"""Looking at the other members of the set: whether they answer, what they answer from, who is behind whom.

A member that is cut off cannot know what it has missed; what another member says it has is a sign. What they say goes
to the watermark, which decides what is answered for. A look tells as well as asks: a member that is seen to have
something older is told what it lacks, since it may be cut off in the other direction only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from vouchd.cloning.appointment import administrators, believed
from vouchd.cloning.client import PeerClient, PeerEpochs
from vouchd.cloning.peer_view import Lag, PeerView
from vouchd.cloning.watermark import Epochs, Watermark
from vouchd.core.facts import Epoch, IssuingPointId, Member, User
from vouchd.core.ports import Clock
from vouchd.core.signer_facts import KeyringWord
from vouchd.errors import NotFound, VouchdError

MOST_TOLD = 100  # epochs at a time: what is left is told when these have arrived
_AT_ONCE = 8
_REGISTRY_SECONDS = 2.0  # a store that hangs must not keep the set from being looked at


@dataclass(frozen=True, slots=True)
class PeerState:
    """One other member as it was seen last; times are POSIX seconds.

    `lags` are of the issuing points in which it differs from this member. `skew_seconds`: its clock before ours.
    """

    member: Member
    reachable: bool
    seen_at: int | None = None
    skew_seconds: int = 0
    lags: tuple[Lag, ...] = ()
    error: str = ""
    keyring: KeyringWord | None = None
    knows_us_as: Member | None = None  # None: not known


class Peers:
    """The other members: `me()` and `members()` tell who, `epochs()` what is served here, `connect` makes a client."""

    def __init__(
        self,
        me: Callable[[], Member | None],
        members: Callable[[], Iterable[Member]],
        epochs: Callable[[], Epochs],
        connect: Callable[[Member], PeerClient],
        clock: Clock,
        watermark: Watermark,
        now: Callable[[], float] = time.monotonic,
        users: Callable[[], Iterable[User]] = tuple,
    ) -> None:
        self.saying: Callable[[], KeyringWord] = KeyringWord  # what this member says of the keyring
        self._me = me
        self._members = members
        self._epochs = epochs
        self._connect = connect
        self._users = users
        self._clock = clock
        self._watermark = watermark
        self._now = now
        self._known: tuple[Member, ...] = ()
        self._read = False  # whether who is in the set has been read
        self._own: Member | None = None
        self._reading: threading.Thread | None = None
        self._beginning = threading.Lock()
        self._views: dict[str, PeerView] = {}  # by id
        self._heard: set[str] = set()  # ids of those that spoke without having been asked
        self._masters: dict[str, Member] = {}
        self._appointing: frozenset[bytes] = frozenset()
        self._late: frozenset[str] = watermark.late()
        self.states: tuple[PeerState, ...] = ()

    @property
    def behind(self) -> frozenset[str]:
        """The ids of the CAs that are not answered for, because something newer is known."""
        return self._watermark.late()

    def others(self) -> tuple[Member, ...]:
        """The other members, also while the store is away."""
        if not self._read:
            self._remember()
        own = self._own.id if self._own else ""
        return tuple(member for member in self._known if member.id != own)

    def known(self, member_id: str) -> Member | None:
        """The member of that id as it was read last; who was none then may have joined since, and is read now.

        To be asked of who has proved to be one: others would have the registry read as often as they like.
        """
        known = self._named(member_id)
        if known is None and member_id:
            self._remember()
            known = self._named(member_id)
        return known

    def _named(self, member_id: str) -> Member | None:
        return next((member for member in self._known if member.id == member_id), None)

    def elsewhere(self, member_id: str) -> Mapping[IssuingPointId, Epoch | None]:
        """What that member answers from, as it told last, where that is not what is served here now; None: nothing."""
        view = self._views.get(member_id)
        return view.elsewhere(self._epochs()) if view is not None else {}

    def look(self) -> bool:
        """Ask every other member; whether one came or went, or CAs became behind or are no longer.

        Raises: nothing of another member.
        """
        self._remember()
        read, others = self._read, self.others()  # in this order: a set that is read just now was not asked
        before = {state.member.id: state for state in self.states}
        self._forget({member.id for member in others})
        ours = self._epochs()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(lambda member: self._ask(member, ours), others))
        self.states = tuple(
            self._state(member, answer, before.get(member.id), ours)
            for member, answer in zip(others, answers, strict=True)
        )
        if read and all(state.reachable for state in self.states):
            self._watermark.all_asked()
        late = self.behind
        changed, self._late = late != self._late, late
        return changed or _reachable(before.values()) != _reachable(self.states)

    def hear(self, member_id: str, epochs: Iterable[Epoch]) -> None:
        """The member says that it answers from these, and sees that this one does not. Raises: NotFound."""
        if self.known(member_id) is None or member_id not in {member.id for member in self.others()}:
            raise NotFound(f"no other member {member_id[:100]}")
        ours = self._epochs()
        known = [epoch for epoch in epochs if epoch.issuing_point.authority_id in ours]
        self._watermark.learn(_word(member_id), known)
        self._heard.add(member_id)  # last: a look that forgets it meanwhile has the word there, or the next one does

    def master(self) -> Member | None:
        """The master, as far as any member that was asked knows; the registry is read if none was asked yet."""
        if not self._read:  # who is by itself is in no registry, and would read it at each call
            self._remember()
        return believed(self._masters.values(), self._known, self._appointing)

    def _remember(self) -> None:
        """Read who is in the set; a store that does not answer keeps nobody from asking those that were in it."""
        with self._beginning:  # the agent port asks in threads of its own
            if self._reading is None or not self._reading.is_alive():
                self._reading = threading.Thread(target=self._read_members, daemon=True)
                self._reading.start()
            reading = self._reading
        reading.join(_REGISTRY_SECONDS)

    def _read_members(self) -> None:
        with suppress(VouchdError):
            self._own, self._known = self._me(), tuple(self._members())
            self._read = True
            self._appointing = administrators(self._users())

    def _ask(self, member: Member, ours: Epochs) -> PeerEpochs | VouchdError:
        view = self._views[member.id]
        try:
            client = self._connect(member)
            answer = client.epochs(view.version)
        except VouchdError as error:
            return error
        # Before the view has it: what was told with this version is not told again, whatever becomes of the look.
        if answer.concerned is None:
            self._watermark.know(member.id, answer.epochs)
        elif answer.concerned:
            self._watermark.know_of(member.id, answer.concerned, answer.epochs)
        self._watermark.forget([_word(member.id)])  # its own answer is newer than what it said of itself
        view.take(answer, ours, self._now())
        lacking = view.lacking()
        if lacking and self._own is not None:
            with suppress(VouchdError):  # one of an earlier version has no ear for it
                client.tell_newer(self._own.id, lacking[:MOST_TOLD])
        return answer

    def _state(
        self, member: Member, answer: PeerEpochs | VouchdError, before: PeerState | None, ours: Epochs
    ) -> PeerState:
        view = self._views[member.id]
        if isinstance(answer, VouchdError):
            # What it said last still counts: that it cannot be asked now does not make its newer CRL unsaid.
            view.make_up(ours)
            last = before or PeerState(member, reachable=False)
            still = tuple(lag for lag in last.lags if lag.point in view.apart)
            return replace(last, member=member, reachable=False, error=str(answer), lags=still)
        if answer.master is not None:
            self._masters[member.id] = answer.master
        return PeerState(
            member,
            reachable=True,
            seen_at=self._clock.now(),
            skew_seconds=answer.now - self._clock.now(),
            lags=view.lags(self._now()),
            keyring=answer.keyring,
            knows_us_as=answer.asking,
        )

    def _forget(self, members: set[str]) -> None:
        gone = {*self._views, *self._heard} - members  # one may have come, spoken and gone since the last look
        self._heard -= gone
        self._watermark.forget([*gone, *map(_word, gone)])
        self._views = {name: self._views.get(name) or PeerView() for name in members}
        self._masters = {name: member for name, member in self._masters.items() if name in members}


def _word(member_id: str) -> str:
    """The source that a member is when it speaks without having been asked."""
    return f"{member_id} unasked"


def _reachable(states: Iterable[PeerState]) -> frozenset[str]:
    return frozenset(state.member.id for state in states if state.reachable)

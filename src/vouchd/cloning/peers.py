"""Looking at the other members of the set: whether they answer, what they answer from, who is behind whom.

A member that is cut off cannot know what it has missed; what another member says it has is the only sign. A CA of which
another one has had a newer CRL for longer than the bound is not answered for: better no answer than a stale `good`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from vouchd.cloning.appointment import administrators, believed
from vouchd.cloning.client import PeerClient, PeerEpochs
from vouchd.core.facts import Epoch, IssuingPointId, Member, User, order
from vouchd.core.ports import Clock
from vouchd.errors import VouchdError

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class PeerState:
    """One other member as it was seen last; times are POSIX seconds.

    `lag_seconds` by issuing point: for how long it has had an older CRL than this member (positive), or a newer one
    (negative); points that are alike are not in it. `skew_seconds`: its clock before ours.
    """

    member: Member
    reachable: bool
    seen_at: int | None = None
    skew_seconds: int = 0
    epochs: tuple[Epoch, ...] = ()
    lag_seconds: tuple[tuple[IssuingPointId, int], ...] = ()
    error: str = ""


class Peers:
    """The other members: `me()` and `members()` tell who, `epochs()` what is served here, `connect` makes a client."""

    def __init__(
        self,
        me: Callable[[], Member | None],
        members: Callable[[], Iterable[Member]],
        epochs: Callable[[], Iterable[Epoch]],
        connect: Callable[[Member], PeerClient],
        clock: Clock,
        stale_seconds: int,
        now: Callable[[], float] = time.monotonic,
        behind: Iterable[str] = (),
        users: Callable[[], Iterable[User]] = tuple,
    ) -> None:
        """`behind`: the ids of the CAs that were behind before a restart; they stay so until it is known better."""
        self._me = me
        self._members = members
        self._epochs = epochs
        self._connect = connect
        self._users = users
        self._clock = clock
        self._stale_seconds = stale_seconds
        self._now = now
        self._known: tuple[Member, ...] = ()
        self._own: Member | None = None
        self._apart: dict[tuple[str, IssuingPointId, bool], float] = {}  # since when, which of the two is ahead
        self._masters: dict[str, Member] = {}
        self._appointing: frozenset[bytes] = frozenset()
        self.states: tuple[PeerState, ...] = ()
        self.behind: frozenset[str] = frozenset(behind) if stale_seconds else frozenset()
        self._unsure = {authority_id: _of(authority_id, epochs()) for authority_id in self.behind}

    def others(self) -> tuple[Member, ...]:
        """The other members, also while the store is away."""
        if not self._known:
            self._remember()
        own = self._own.id if self._own else ""
        return tuple(member for member in self._known if member.id != own)

    def look(self) -> bool:
        """Ask every other member; whether one came or went, or CAs became behind or are no longer.

        Raises: nothing of another member.
        """
        self._remember()
        others = self.others()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            told = list(pool.map(self._ask, others))
        ours = {epoch.issuing_point: epoch for epoch in self._epochs()}
        before = {state.member.id: state for state in self.states}
        self._forget({member.id for member in others})
        self.states = tuple(
            self._state(member, found, before.get(member.id), ours) for member, found in zip(others, told, strict=True)
        )
        self._reconsider(ours.values())
        behind = frozenset({*self._too_old(), *self._unsure}) if self._stale_seconds else frozenset()
        changed, self.behind = behind != self.behind, behind
        return changed or _reachable(before.values()) != _reachable(self.states)

    def master(self) -> Member | None:
        """The master, as far as any member that was asked knows; the registry is read if none was asked yet."""
        if not self._known:
            self._remember()
        return believed(self._masters.values(), self._known, self._appointing)

    def _remember(self) -> None:
        with suppress(VouchdError):  # the store is away: the members that were there are asked
            self._own, self._known = self._me(), tuple(self._members())
            self._appointing = administrators(self._users())

    def _ask(self, member: Member) -> PeerEpochs | VouchdError:
        try:
            return self._connect(member).epochs()
        except VouchdError as error:
            return error

    def _state(
        self,
        member: Member,
        told: PeerEpochs | VouchdError,
        before: PeerState | None,
        ours: dict[IssuingPointId, Epoch],
    ) -> PeerState:
        if isinstance(told, VouchdError):
            # What it said last still counts: that it cannot be asked now does not make its newer CRL unsaid.
            last = before or PeerState(member, reachable=False)
            still = tuple(self._still(last, ours))
            return replace(last, member=member, reachable=False, error=str(told), lag_seconds=still)
        if told.master is not None:
            self._masters[member.id] = told.master
        lags = []
        for point in {epoch.issuing_point for epoch in told.epochs} | ours.keys():
            theirs = next((epoch for epoch in told.epochs if epoch.issuing_point == point), None)
            lag = self._apart_for(member.id, point, theirs, ours.get(point))
            if lag:
                lags.append((point, lag))
        return PeerState(
            member,
            reachable=True,
            seen_at=self._clock.now(),
            skew_seconds=told.now - self._clock.now(),
            epochs=told.epochs,
            lag_seconds=tuple(sorted(lags)),
        )

    def _still(self, last: PeerState, ours: dict[IssuingPointId, Epoch]) -> Iterator[tuple[IssuingPointId, int]]:
        """The lags of a member that cannot be asked, without those that were made up for here since."""
        told = {epoch.issuing_point: epoch for epoch in last.epochs}
        for point, lag in last.lag_seconds:
            if lag < 0 and point in ours and order(ours[point]) >= order(told[point]):
                self._apart.pop((last.member.id, point, True), None)
            else:
                yield point, lag

    def _apart_for(self, member_id: str, point: IssuingPointId, theirs: Epoch | None, ours: Epoch | None) -> int:
        """For how long theirs has been older than ours (positive seconds), or newer (negative); 0: they are alike."""
        alike = theirs is not None and ours is not None and theirs.index_name == ours.index_name
        ahead = theirs is not None and (ours is None or order(theirs) > order(ours))
        for side in (False, True):
            if alike or side is not ahead:
                self._apart.pop((member_id, point, side), None)
        if alike:
            return 0
        since = self._apart.setdefault((member_id, point, ahead), self._now())
        seconds = max(1, int(self._now() - since))
        return -seconds if ahead else seconds

    def _too_old(self) -> Iterable[str]:
        for (_, point, ahead), since in self._apart.items():
            if ahead and self._now() - since >= self._stale_seconds:
                yield point.authority_id

    def _reconsider(self, ours: Iterable[Epoch]) -> None:
        """A CA that was behind before a restart is sure again when all were asked, or it has got something newer."""
        if all(state.reachable for state in self.states):
            self._unsure = {name: was for name, was in self._unsure.items() if self._is_ahead(name)}
        ours = tuple(ours)
        self._unsure = {name: was for name, was in self._unsure.items() if _of(name, ours) == was}

    def _is_ahead(self, authority_id: str) -> bool:
        return any(ahead and point.authority_id == authority_id for _, point, ahead in self._apart)

    def _forget(self, members: set[str]) -> None:
        self._apart = {key: since for key, since in self._apart.items() if key[0] in members}
        self._masters = {name: member for name, member in self._masters.items() if name in members}


def _of(authority_id: str, epochs: Iterable[Epoch]) -> frozenset[str]:
    return frozenset(epoch.index_name for epoch in epochs if epoch.issuing_point.authority_id == authority_id)


def _reachable(states: Iterable[PeerState]) -> frozenset[str]:
    return frozenset(state.member.id for state in states if state.reachable)

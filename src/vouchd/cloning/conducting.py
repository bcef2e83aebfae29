"""What the members do together for the keyring: keys are sealed to who lacks them, and the set switches.

A member looks at the facts and at what every other one said when it was looked at last (`Peers`); it changes the facts
and nothing else. Sealing is done by whoever has the key and may write, switching by the master alone, each as one
change that is refused when the facts are others by then; it is simply tried again with the next look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from vouchd.cloning.keyring import LACKING, MemberFiles, seal_context
from vouchd.cloning.peers import PeerState
from vouchd.cloning.registry import master_of
from vouchd.core.facts import Member
from vouchd.core.ports import Clock, Store
from vouchd.core.signer_facts import Keyring, KeyringWord, SealedKey, SignerVersion, hold_ups
from vouchd.errors import SigningError, StoreConflict
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.signing.sealing import recipient_of, seal

LEAD_SECONDS = 3  # for the fact to reach every member before the moment that it names
ALONE = ""  # the id of a member that is in no set

HoldUps = tuple[tuple[str, str, str], ...]


class Conducting:
    """`states` tells how the other members were seen last, `own` what this one says; `shared`: all may write."""

    def __init__(
        self,
        layout: Layout,
        store: Store,
        me: Callable[[], Member | None],
        states: Callable[[], tuple[PeerState, ...]],
        own: Callable[[], KeyringWord],
        clock: Clock,
        *,
        shared: bool,
    ) -> None:
        self._layout = layout
        self._store = store
        self._me = me
        self._states = states
        self._own = own
        self._clock = clock
        self._shared = shared
        self._member = MemberFiles(layout)
        self.hold_ups: HoldUps = ()  # why the set does not switch: version, member, reason

    def look(self) -> bool:
        """Do what is due; whether the facts changed, or other things are in the way. Raises: VouchdError."""
        me, members = self._me(), self._store.members()
        own = me.id if me else ALONE
        conducts = self.conducts
        ring = self._store.keyring()
        words = self._words(own)
        after = ring
        if self._shared or conducts:
            after = self._tidied(self._sealed(after, own), words)
        before, self.hold_ups = self.hold_ups, self._in_the_way(ring, members, own, words)
        now = self._clock.now()
        pending = 0 < ring.switch_at - now <= LEAD_SECONDS  # members wait for that moment, whatever the facts say then
        if conducts and ring.is_switching and not self.hold_ups and not pending:
            after = after.switched(now + (LEAD_SECONDS if len(members) > 1 else 0))
        if after != ring:
            try:
                self._store.put_keyring(after, ring)
            except StoreConflict:  # looked at anew, soon
                return False
        return after != ring or before != self.hold_ups

    @property
    def conducts(self) -> bool:
        """Whether this member is the one that has the set switch: the master, or one by itself."""
        me, master = self._me(), master_of(self._store.members())
        return me is None or master is None or master.id == me.id

    def _words(self, own: str) -> dict[str, KeyringWord]:
        """What each member said, of those that can be asked."""
        states = ((state.member.id, state.keyring) for state in self._states() if state.reachable)
        return {own: self._own()} | {name: word for name, word in states if word is not None}

    def _in_the_way(
        self, ring: Keyring, members: tuple[Member, ...], own: str, words: Mapping[str, KeyringWord]
    ) -> HoldUps:
        due = [one for one in ring.staged() if one.key in set(ring.target) - set(ring.current)]
        said = {name: word.versions for name, word in words.items()}
        return hold_ups(due, {member.id for member in members} | {own}, said)

    def _sealed(self, ring: Keyring, own: str) -> Keyring:
        """With copies of the keys that are here for those who lack them."""
        for version in ring.staged():
            new = [] if version.token else [*self._copies(version, own)]
            if new:
                others = [one for one in version.sealed if one.member not in {copy.member for copy in new}]
                ring = ring.with_version(replace(version, sealed=tuple(sorted([*others, *new]))))
        return ring

    def _copies(self, version: SignerVersion, own: str) -> Iterator[SealedKey]:
        """Raises: SigningError."""
        present = {(one.member, one.recipient) for one in version.sealed}
        lacking = {
            state.member.id: state.keyring.sealing
            for state in self._states()
            if state.reachable and state.keyring and state.keyring.versions.get(version.name) == LACKING
        }
        wanted = {
            name: key for name, key in lacking.items() if name != own and (name, recipient_of(key)) not in present
        }
        if not wanted:
            return
        settings, files = read_settings(self._layout), self._member.files
        place = self._member.place(version, settings, files)
        if place is None:
            return
        key = files.read(place.key_file)
        for name, public in wanted.items():
            try:
                sealed = seal(key, public, seal_context(version, name))
            except SigningError:  # that member says what it lacks, and keeps lacking it
                continue
            yield SealedKey(name, recipient_of(public), sealed)

    def _tidied(self, ring: Keyring, words: Mapping[str, KeyringWord]) -> Keyring:
        """Without the copies whose reader has the key, or is another process by now."""
        for version in ring.versions:
            kept = tuple(one for one in version.sealed if self._is_due(one, version, words))
            if kept != version.sealed:
                ring = ring.with_version(replace(version, sealed=kept))
        return ring

    def _is_due(self, copy: SealedKey, version: SignerVersion, words: Mapping[str, KeyringWord]) -> bool:
        word = words.get(copy.member)
        if word is None:  # it cannot be asked now
            return version.is_usable and copy.member in {member.id for member in self._store.members()}
        lacks = word.versions.get(version.name, LACKING) == LACKING
        return version.is_usable and lacks and recipient_of(word.sealing) == copy.recipient

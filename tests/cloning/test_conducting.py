"""What members do together for the keyring: keys for who lacks them, and one switch for all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from tests.agent.domain_site import a_clone
from tests.cloning.test_registry import NOW, HandClock
from tests.memory_store import MemoryStore
from tests.sites import Site

from vouchd.cloning.conducting import LEAD_SECONDS, Conducting
from vouchd.cloning.keyring import LACKING, seal_context
from vouchd.cloning.peers import PeerState
from vouchd.cloning.signers import adopted
from vouchd.core.facts import Member
from vouchd.core.signer_facts import Keyring, KeyringWord, SealedKey, SignerVersion
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.signing.sealing import SealingKey, public_key_hash

MASTER, CLONE = replace(a_clone(1), clone=False, term=1), a_clone(2)
SIGNER = "ocspSigningCert"


@dataclass
class Set:
    """A master with the signer of `site`, and a clone that says what the test has it say."""

    layout: Layout
    store: MemoryStore
    me: Member = MASTER
    reader: SealingKey = field(default_factory=SealingKey)
    said: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    reachable: bool = True

    def conducting(self, *, shared: bool = False) -> Conducting:
        other = CLONE if self.me == MASTER else MASTER
        return Conducting(
            self.layout,
            self.store,
            lambda: self.me,
            lambda: (PeerState(other, self.reachable, keyring=KeyringWord(self.reader.public, self.said)),),
            lambda: KeyringWord(b"", self.own),
            HandClock(),
            shared=shared,
        )

    @property
    def newest(self) -> SignerVersion:
        return self.store.keyring().versions[-1]


@pytest.fixture
def pair(tmp_path) -> Set:
    """The signer of CS.cfg is the first version, and the master is to switch to a second one of the same key."""
    site = Site.make(tmp_path)
    assert site.create("--instance", str(site.instance), "--listen", "127.0.0.1", "--port", "0") == 0
    layout, store = Layout(site.instance), MemoryStore()
    for member in (MASTER, CLONE):
        store.put_member(member, None)
    ring = adopted(Keyring(), read_settings(layout).signers[0])
    second = replace(ring.versions[0], number=2)
    store.put_keyring(ring.with_version(second).aiming_at(second), Keyring())
    return Set(layout, store)


def test_key_is_sealed_to_a_member_that_lacks_it(pair):
    """The copy is for that member's process and that version; the member reads the very key."""
    pair.said = {pair.newest.name: LACKING}
    assert pair.conducting().look()
    (copy,) = pair.newest.sealed
    assert (copy.member, copy.recipient) == (CLONE.id, pair.reader.recipient)
    key = pair.reader.open(copy.sealed, seal_context(pair.newest, CLONE.id))
    assert public_key_hash(key) == pair.newest.public_key
    change = pair.store.keyring().change
    pair.conducting().look()
    assert pair.store.keyring().change == change, "it is sealed once"


def test_copy_goes_when_its_reader_has_the_key_or_is_another_process(pair):
    """No copy stays in the facts longer than somebody waits for it."""
    pair.said = {pair.newest.name: LACKING}
    pair.conducting().look()
    pair.reader = SealingKey()
    pair.conducting().look()
    assert [copy.recipient for copy in pair.newest.sealed] == [pair.reader.recipient]
    pair.said = {pair.newest.name: "another reason"}
    pair.conducting().look()
    assert pair.newest.sealed == ()


def test_copy_for_who_left_the_set_is_taken_out(pair):
    """A member that was taken out finds nothing for it any more."""
    ring = pair.store.keyring()
    orphan = replace(pair.newest, sealed=(SealedKey("gone.example:1", "aa", b"x"),))
    pair.store.put_keyring(ring.with_version(orphan), ring)
    pair.conducting().look()
    assert pair.newest.sealed == ()


def test_set_switches_when_every_member_could(pair):
    """Not before the last has said so; then the epoch rises, with a moment that all can know of in time."""
    name = pair.newest.name
    pair.own, pair.said = {name: ""}, {name: "its clock says that it is not valid yet"}
    conducting = pair.conducting()
    conducting.look()
    assert conducting.hold_ups == ((name, CLONE.id, "its clock says that it is not valid yet"),)
    assert pair.store.keyring().epoch == 0
    pair.said = {name: ""}
    conducting.look()
    ring = pair.store.keyring()
    assert (ring.epoch, ring.switch_at, ring.current) == (1, NOW + LEAD_SECONDS, ((SIGNER, 2),))


def test_set_switches_once_more_when_the_moment_named_has_come(pair):
    """Members wait for a moment that is near: another one is not named meanwhile, so that all go through the same ones."""
    name = pair.newest.name
    pair.own, pair.said = {name: ""}, {name: ""}
    conducting = pair.conducting()
    conducting.look()
    ring = pair.store.keyring()
    pair.store.put_keyring(ring.aiming_at(ring.versions[0]), ring)
    conducting.look()
    assert (pair.store.keyring().epoch, pair.store.keyring().current) == (1, ((SIGNER, 2),))
    ring = pair.store.keyring()
    pair.store.put_keyring(replace(ring, switch_at=NOW), ring)
    pair.own, pair.said = ({f"{SIGNER}#1": "", name: ""} for _ in range(2))
    conducting.look()
    assert (pair.store.keyring().epoch, pair.store.keyring().current) == (2, ((SIGNER, 1),))


def test_member_that_cannot_be_asked_holds_the_switch_up(pair):
    """What it said before it went away is not what it could do now."""
    name = pair.newest.name
    pair.own, pair.said, pair.reachable = {name: ""}, {name: ""}, False
    conducting = pair.conducting()
    conducting.look()
    assert [member for _, member, _ in conducting.hold_ups] == [CLONE.id]
    assert pair.store.keyring().epoch == 0


def test_clone_sees_what_is_in_the_way_and_changes_nothing(pair):
    """The master conducts; every member can tell why it does not."""
    name = pair.newest.name
    pair.me, pair.own, pair.said = CLONE, {name: ""}, {name: ""}
    conducting = pair.conducting()
    before = pair.store.keyring()
    conducting.look()
    assert pair.store.keyring() == before
    assert conducting.hold_ups == ()

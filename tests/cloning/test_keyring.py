"""A member's part in a switch: it tries the next signer out itself, and one that fails holds the switch up and says why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.cloning.test_conducting import CLONE, MASTER, SIGNER
from tests.pki import CA, DAY, Issued, new_key
from tests.sites import Site
from tests.whole.key_search import files, forms, places
from tests.whole.key_table import of_keys

from vouchd.api.services import Services
from vouchd.clock import SystemClock
from vouchd.cloning.conducting import Conducting
from vouchd.cloning.keyring import LACKING, NOT_LOADED, MemberKeyring, prepare, seal_context
from vouchd.cloning.peers import PeerState
from vouchd.cloning.signers import adopted
from vouchd.core.signer_facts import KeyringWord, SealedKey, SignerVersion
from vouchd.instance.signing_sets import SigningWord
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.signing import sealing
from vouchd.signing.sealing import public_key_hash, recipient_of, seal
from vouchd.wiring import services as wiring

NAME = f"{SIGNER}#2"
CLOCK = SystemClock()
USAGE = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)
ENCIPHERS = (x509.KeyUsage(False, False, True, False, False, False, False, False, False), True)


class Trying:
    """A set of a master, which could sign with anything, and a clone, whose part is the real one."""

    def __init__(self, site: Site, services: Services) -> None:
        self.site, self.services = site, services
        self.layout, self.store = services.layout, services.store
        for member in (MASTER, CLONE):
            self.store.put_member(member, None)
        self.restarts = 0
        self.conducting = Conducting(
            self.layout,
            self.store,
            lambda: MASTER,
            lambda: (PeerState(CLONE, reachable=True, keyring=self.clone.words()),),
            lambda: KeyringWord(b"", {NAME: ""}),
            CLOCK,
            shared=False,
        )

    def aim_at(self, issued: Issued, algorithm: str = "SHA256withEC") -> None:
        """The master has this certificate of the present key as the next version, and the workers have it loaded."""
        ring = self.store.keyring()
        before = ring if ring.versions else adopted(ring, read_settings(self.layout).signers[0])
        version: SignerVersion = replace(
            before.versions[0], number=2, certificate_der=issued.der, chain=(), algorithm=algorithm
        )
        self.store.put_keyring(before.with_version(version).aiming_at(version), ring)
        self.word = SigningWord(self.layout.signing_word, writable=True)
        self.clone = MemberKeyring(
            self.layout,
            self.store,
            lambda: CLONE,
            self.services.audit,
            CLOCK,
            self.word,
            prepare(self.layout, read_settings(self.layout), self.store, self.word),
            self._restart,
        )
        self.clone.settle()

    def _restart(self) -> None:
        self.restarts += 1

    def look(self) -> str:
        """Both do what is due; what the clone says of the next version."""
        self.clone.look()
        self.conducting.look()
        return self.clone.words().versions[NAME]


@pytest.fixture
def trying(tmp_path) -> Iterator[Trying]:
    site = Site.make(tmp_path)
    assert site.create("--instance", str(site.instance), "--listen", "127.0.0.1", "--port", "0") == 0
    with wiring.services(Layout(site.instance)) as services:
        yield Trying(site, services)


def issue(site: Site, case: str) -> Issued:
    """A certificate of the signer's key with which no client would be content."""
    now, key = int(time.time()), site.signer.key
    validity = {"not_before": now - DAY, "not_after": now + 60 * DAY}
    match case:
        case "not valid yet":
            return site.ca.issue_signer(key=key, not_before=now + DAY, not_after=now + 60 * DAY)
        case "ended":
            return site.ca.issue_signer(key=key, not_before=now - 60 * DAY, not_after=now - DAY)
        case "another CA":
            return CA.create("Other CA").issue_signer(key=key, **validity)
        case "no id-kp-OCSPSigning":
            return site.ca.issue("plain", key=key, **validity)
        case "no digitalSignature":
            return site.ca.issue("seals", key=key, extensions=(USAGE, ENCIPHERS), **validity)
    return site.ca.issue_signer("renewed", key=key, **validity)


@pytest.mark.parametrize(
    ("case", "algorithm", "why"),
    [
        ("not valid yet", "SHA256withEC", "is not valid now"),
        ("ended", "SHA256withEC", "is not valid now"),
        ("another CA", "SHA256withEC", "the issuer 'CN=Other CA' of 'CN=OCSP signer' is not known"),
        ("no id-kp-OCSPSigning", "SHA256withEC", "extendedKeyUsage lacks OCSPSigning"),
        ("no digitalSignature", "SHA256withEC", "keyUsage lacks digitalSignature"),
        ("an algorithm of another key", "SHA256withRSA", "its key cannot make SHA256withRSA"),
    ],
)
def test_member_whose_rehearsal_fails_holds_the_switch_up_and_says_why(trying, case, algorithm, why):
    """What it finds out itself is what the master waits for, by name; mended, the set switches without anybody's act."""
    trying.aim_at(issue(trying.site, case), algorithm)
    before, signing = read_settings(trying.layout).signers, trying.word.number
    said = trying.look()
    assert why in said
    assert trying.conducting.hold_ups == ((NAME, CLONE.id, said),)
    ring = trying.store.keyring()
    assert (ring.epoch, ring.current) == (0, ((SIGNER, 1),))
    assert (read_settings(trying.layout).signers, trying.word.number) == (before, signing)
    trying.aim_at(issue(trying.site, "mended"))
    assert trying.look() == ""
    assert trying.conducting.hold_ups == ()
    assert trying.store.keyring().current == ((SIGNER, 2),)


def test_member_that_knows_a_ca_which_the_signer_is_not_of_names_it(trying):
    """For each CA a trial answer is made and verified as clients do: one that they would refuse is told with the CA."""
    authority = trying.store.authorities()[0]
    other = CA.create("Other CA")
    trying.store.put_authority(replace(authority, id="0" * 64, label="Other", certificate_der=other.der))
    trying.aim_at(issue(trying.site, "renewed"))
    assert trying.look().startswith("CA Other: ")
    assert [(name, member) for name, member, _ in trying.conducting.hold_ups] == [(NAME, CLONE.id)]
    assert trying.store.keyring().current == ((SIGNER, 1),)
    trying.store.remove_authority("0" * 64)
    assert trying.look() == ""
    assert trying.store.keyring().current == ((SIGNER, 2),)


def test_member_that_looks_just_before_a_switch_makes_it_at_its_moment(trying):
    """A moment that is far is left to a later look; one that is near is waited for, and then the next one signs."""
    trying.aim_at(issue(trying.site, "renewed"))
    before = trying.word.number
    assert trying.look() == ""
    ring = trying.store.keyring()
    trying.store.put_keyring(replace(ring, switch_at=CLOCK.now() + 1000), ring)
    trying.look()
    assert (trying.word.number, trying.restarts) == (before, 0)
    ring, at = trying.store.keyring(), CLOCK.now() + 1
    trying.store.put_keyring(replace(ring, switch_at=at), ring)
    trying.clone.look()
    assert CLOCK.now() >= at
    assert (trying.word.number, trying.restarts) == (before + 1, 1)


@of_keys("that keys are sealed to")
def test_key_that_keys_are_sealed_to_is_in_no_file(trying, monkeypatch):
    """A member that lacks a key says to which of its own it is to be sealed; the files of the instance have that not."""
    secrets: dict[str, bytes] = {}
    for kind in ("MLKEM768PrivateKey", "X25519PrivateKey"):
        monkeypatch.setattr(sealing, kind, Kept(getattr(sealing, kind), kind, secrets))
    key = new_key()
    now = int(time.time())
    trying.aim_at(trying.site.ca.issue_signer(key=key, not_before=now - DAY, not_after=now + 60 * DAY))
    ring = trying.store.keyring()
    version = replace(ring.version(SIGNER, 2), public_key=public_key_hash(key))
    trying.store.put_keyring(ring.with_version(version), ring)
    assert trying.look() == LACKING
    public = trying.clone.words().sealing
    copy = SealedKey(CLONE.id, recipient_of(public), seal(key, public, seal_context(version, CLONE.id)))
    ring = trying.store.keyring()
    trying.store.put_keyring(ring.with_version(replace(version, sealed=(copy,))), ring)
    assert trying.look() == NOT_LOADED
    assert sorted(secrets) == ["MLKEM768PrivateKey", "X25519PrivateKey"]
    assert places(forms(secrets), files(trying.site.folder)) == []


@dataclass
class Kept:
    """A kind of keys, of which the secret octets of the one that is made are kept."""

    kind: type
    name: str
    secrets: dict[str, bytes]

    def generate(self):
        """A new one."""
        key = self.kind.generate()
        self.secrets[self.name] = key.private_bytes_raw()
        return key

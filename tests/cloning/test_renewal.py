"""A member whose TLS certificate was renewed stays who it is: by the word of the key that the others have pinned."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.agent.agent_port import LOCAL, issue
from tests.agent.domain_site import HOST, a_clone, a_master, own_key
from tests.pki import CA

from vouchd.cloning.proof import MemberKey, succeeds, succession
from vouchd.cloning.renewal import say_anew
from vouchd.core.facts import Member
from vouchd.errors import ClientError, ConfigError
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.signing.keys import write_key
from vouchd.signing.software import SoftwareSigner

ISSUED = issue(CA.create("Hosts CA"), "old", ExtendedKeyUsageOID.SERVER_AUTH)
OLD = MemberKey(SoftwareSigner("member", ISSUED.key, ISSUED.der))
NEW, OTHER = own_key("new"), own_key("other")


def test_word_of_the_key_before_counts_for_the_certificate_it_names_alone():
    """Only the pinned key speaks, and only of the certificate that it was asked about."""
    words = succession({NEW.sha256: NEW, OLD.sha256: OLD})
    assert succeeds(words, OLD.sha256, NEW.sha256)
    assert not succeeds(words, OLD.sha256, OTHER.sha256)
    assert not succeeds(words, OTHER.sha256, NEW.sha256)
    forged = [f"{words[0].split(' ')[0]} {succession({NEW.sha256: NEW, OTHER.sha256: OTHER})[0].split(' ')[1]}"]
    assert not succeeds([*forged, "x", "!! !!", ""], OLD.sha256, NEW.sha256)


@pytest.fixture
def master(tmp_path):
    """A master that had another TLS key before."""
    with a_master(tmp_path / "instance") as found:
        layout = found.services.layout
        write_key(layout.alias / "sslserver-2.key", ISSUED.key, read_passwords(layout.password_conf)[INTERNAL])
        (layout.alias / "sslserver-2.pem").write_bytes(ISSUED.pem)
        yield found


def test_member_that_pins_the_certificate_before_goes_on(master):
    """Nobody has to tell the clones of a renewed certificate of the master; one that it never had is refused."""
    assert master.client("auditor", fingerprint=OLD.sha256, own=NEW).info().told_by.host == HOST
    for pinned, own in ((OTHER, NEW), (OLD, None)):  # a person who compares a fingerprint is told, not talked round
        with pytest.raises(ClientError, match="another one than was said"):
            master.client("auditor", fingerprint=pinned.sha256, own=own).info()


def test_master_says_anew_what_it_is(master):
    """Its own registry is its own to mend."""
    store, services = master.services.store, master.services
    (known,) = store.members()
    store.put_member(replace(known, tls_sha256=OLD.sha256), known)
    arguments = (services.layout, services.settings, store, services.domain, LOCAL)
    assert say_anew(*arguments)
    assert store.members()[0].tls_sha256 == known.tls_sha256
    assert not say_anew(*arguments)


def test_clone_says_it_to_the_master_with_the_key_it_is_known_by(master):
    """It comes with the key before; where that is gone it says what to do."""
    store, services, said = master.services.store, master.services, []
    (known,) = store.members()
    store.put_member(replace(known, tls_sha256=OLD.sha256, clone=True), known)
    store.put_member(replace(a_clone(2), clone=False, term=2), None)

    class Client:
        """The master's port."""

        def __init__(self, member: Member, identity: object) -> None:
            self.call = (member.id, identity.own.sha256)

        def rejoin(self, member: Member) -> None:
            said.append((*self.call, member.tls_sha256))

    arguments = (services.layout, services.settings, store, services.domain, LOCAL, Client)
    assert say_anew(*arguments)
    assert said == [(a_clone(2).id, OLD.sha256, known.tls_sha256)]
    (services.layout.alias / "sslserver-2.pem").unlink()
    with pytest.raises(ConfigError, match="is gone"):
        say_anew(*arguments)

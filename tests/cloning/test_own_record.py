"""A member whose certificates change stays who it is: its record names both, and the key before speaks for the next."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.agent.agent_port import LOCAL, issue
from tests.agent.domain_site import HOST, Master, a_clone, a_master, own_key
from tests.cloning.test_registry import HandClock
from tests.pki import CA, NOW

from vouchd.cloning.client import PeerClient
from vouchd.cloning.own_record import OVERLAP_SECONDS, OwnRecord
from vouchd.cloning.peers import PeerState
from vouchd.cloning.proof import MemberKey, succeeds, succession
from vouchd.core.facts import Member
from vouchd.errors import ClientError, ConfigError
from vouchd.instance.certificates.places import SSLSERVER, SUBSYSTEM
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
    with a_master(tmp_path / "instance") as port:
        layout = port.services.layout
        write_key(layout.alias / "sslserver-2.key", ISSUED.key, read_passwords(layout.password_conf)[INTERNAL])
        (layout.alias / "sslserver-2.pem").write_bytes(ISSUED.pem)
        yield port


def record_of(port: Master, peers: object = None, clock: HandClock | None = None, connect=PeerClient.of) -> OwnRecord:
    """What keeps the own record of that instance right."""
    services = port.services
    seen = peers or port.peers
    arguments = (services.layout, services.in_use, services.store, services.domain, seen, LOCAL)
    return OwnRecord(*arguments, clock or services.clock, connect)


def test_member_that_pins_the_certificate_before_goes_on(master):
    """Nobody has to tell the clones of a renewed certificate of the master; one that it never had is refused."""
    assert master.client("auditor", fingerprint=OLD.sha256, own=NEW).info().told_by.host == HOST
    for pinned, own in ((OTHER, NEW), (OLD, None)):  # a person who compares a fingerprint is told, not talked round
        with pytest.raises(ClientError, match="another one than was said"):
            master.client("auditor", fingerprint=pinned.sha256, own=own).info()


def test_master_says_anew_what_it_is_and_is_known_by_both_for_a_while(master):
    """Its own registry is its own to mend; the certificate before counts until all that it sealed has arrived."""
    store, clock = master.services.store, HandClock(NOW)
    (known,) = store.members()
    store.put_member(replace(known, tls_sha256=OLD.sha256), known)
    record = record_of(master, clock=clock)
    assert record.look()
    assert store.members()[0].pins == (known.tls_sha256, OLD.sha256)
    for seconds in (0, OVERLAP_SECONDS - 1):
        clock.at = NOW + seconds
        assert not record.look()
    clock.at = NOW + OVERLAP_SECONDS
    assert record.look()
    assert store.members()[0].pins == (known.tls_sha256,)


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
            said.append((*self.call, member.pins))

    record = record_of(master, connect=Client)
    assert record.look()
    assert said == [(a_clone(2).id, OLD.sha256, (known.tls_sha256, OLD.sha256))]
    (services.layout.alias / "sslserver-2.pem").unlink()
    with pytest.raises(ConfigError, match="is gone"):
        record.look()


def test_next_certificates_stand_in_the_record_before_they_are_shown(master):
    """A TLS certificate that has come is a pin beside the one in use, a subsystem certificate one that it may bring."""
    services = master.services
    alias, (known,) = services.layout.alias, services.store.members()
    client = issue(master.ca, "own subsystem")
    (alias / "sslserver-3.next").write_bytes(ISSUED.pem)
    (alias / "subsystem-2.next").write_bytes(client.pem)
    record = record_of(master)
    assert record.lacking(SSLSERVER, ISSUED.der) == (known.id,)
    assert record.look()
    (now,) = services.store.members()
    assert now.pins == (known.tls_sha256, OLD.sha256)
    assert client.der in now.client_certificates
    assert record.lacking(SSLSERVER, ISSUED.der) == record.lacking(SUBSYSTEM, client.der) == ()
    assert record.lacking("audit_signing", client.der) == (), "it is shown to nobody"
    (alias / "sslserver-3.next").unlink()
    (alias / "subsystem-2.next").unlink()


def test_switch_waits_for_each_member_that_can_be_reached_and_for_no_other(master):
    """One that has read the record knows it, one that is of an earlier version or away is not waited for."""
    services = master.services
    (services.layout.alias / "sslserver-3.next").write_bytes(ISSUED.pem)
    clones = [a_clone(number) for number in (2, 3, 4, 5, 6)]
    (known,) = services.store.members()
    knows = replace(known, other_tls_sha256=OLD.sha256)
    states = (
        PeerState(clones[0], reachable=True, knows_us_as=knows),
        PeerState(clones[1], reachable=True, knows_us_as=known),
        PeerState(clones[2], reachable=False, knows_us_as=known),
        PeerState(clones[3], reachable=True),
    )
    record = record_of(master, SimpleNamespace(states=states, others=lambda: tuple(clones)))
    assert record.look()
    assert record.lacking(SSLSERVER, ISSUED.der) == (clones[1].id, clones[4].id)
    (services.layout.alias / "sslserver-3.next").unlink()

"""A member's own certificates renew themselves: told to the set first, switched without a restart, proved in the log."""

from __future__ import annotations

import hashlib
import http.client
import time
from contextlib import closing
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.agent.agent_port import LOCAL, SECONDS
from tests.agent.domain_site import HOST, Master, a_clone, a_master, own_key
from tests.audit.auditing import COMMITS
from tests.cloning.test_registry import HandClock
from tests.est_server import ESTServer, _Public
from tests.pki import DAY

from vouchd.audit.proof import prove
from vouchd.audit.trust import Trust
from vouchd.cloning.client import connector
from vouchd.cloning.enrolling import Enrolling
from vouchd.cloning.own_certificates import OwnCertificates
from vouchd.cloning.own_record import OVERLAP_SECONDS, OwnRecord
from vouchd.cloning.proof import BINDING, HEADER, MemberKey
from vouchd.core.facts import Group
from vouchd.errors import ClientError, PermissionDenied
from vouchd.files import replace_file
from vouchd.instance.certificates.places import AUDIT_SIGNING, SSLSERVER, SUBSYSTEM, find
from vouchd.instance.configuration import write_values
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.reading import read_settings
from vouchd.signing.keys import write_key
from vouchd.signing.sealing import public_key_hash
from vouchd.wiring.audit import sign_audit_log

GONE = a_clone(2, host="127.0.0.1", secure_port=1)  # a member that is nowhere
FAR = int(time.time()) + 365 * DAY
USAGES = {
    SUBSYSTEM: ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),),
    AUDIT_SIGNING: ((COMMITS, True),),
}


class Renewing:
    """A master whose port is open, and what renews its own certificates, looked at by hand."""

    def __init__(self, port: Master, server: ESTServer) -> None:
        self.port, self.server = port, server
        self.services = services = port.services
        self.clock = HandClock(int(time.time()))
        self.record = OwnRecord(
            services.layout, services.in_use, services.store, services.domain, port.peers, LOCAL, self.clock
        )
        own = OwnCertificates(
            services.layout,
            services.certificates,
            services.in_use,
            self.record.lacking,
            lambda: services.store.keyring().disowned,
            services.caller,
        )
        self.enrolling = Enrolling([own], lambda: read_settings(services.layout), self.clock)

    def renews(self, name: str, **values: str) -> None:
        layout = self.services.layout
        wanted = {"by": "est", "url": self.server.url, "trust": str(self.server.trust), "user": "ocsp"} | values
        write_values(layout, {f"vouchd.renewal.{name}.{key}": value for key, value in wanted.items()})
        replace_file(layout.password_conf, layout.password_conf.read_bytes() + f"renewal.{name}=word\n".encode(), 0o600)

    def due(self) -> None:
        self.clock.at += 3650 * DAY

    def der(self, name: str) -> bytes:
        """What is in use."""
        return find(self.services.in_use.now(), name).der

    def shown(self) -> bytes:
        """What the port shows to who connects now."""
        with closing(self.port.connect()) as connection:
            return connection.getpeercert(binary_form=True)

    @property
    def pins(self) -> tuple[str, ...]:
        return next(one.pins for one in self.services.store.members() if one.host == HOST)


@pytest.fixture
def renewing(tmp_path):
    """A set of one, whose certificates an EST server certifies by the CA that the clients trust."""
    trust = tmp_path / "trust.pem"
    with (
        a_master(tmp_path / "instance") as port,
        ESTServer(tmp_path, port.ca, int(time.time()), basic="ocsp:word") as est,
    ):
        trust.write_bytes(port.ca.pem)
        layout = port.services.layout
        write_values(layout, {"vouchd.agent.trust": str(trust)})
        for name, usages in USAGES.items():
            issued = port.ca.issue(name, extensions=usages, not_before=int(time.time()) - DAY, not_after=FAR)
            write_key(layout.alias / f"{name}.key", issued.key, read_passwords(layout.password_conf)[INTERNAL])
            (layout.alias / f"{name}.pem").write_bytes(issued.pem)
        yield Renewing(port, est)


def sha256(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def test_tls_certificate_is_told_first_and_switched_without_a_connection_lost(renewing):
    """The one in use is shown until the registry has the next; a connection from before goes on, and nobody restarts."""
    renewing.renews(SSLSERVER)
    before = renewing.der(SSLSERVER)
    assert renewing.enrolling.look() is False, "it has its life before it"
    renewing.due()
    renewing.services.store.put_member(GONE, None)
    member = renewing.port.client("enterprise", own=own_key(a_clone(2).host))
    context = renewing.port.context("enterprise")
    with closing(
        http.client.HTTPSConnection("localhost", renewing.port.port, context=context, timeout=SECONDS)
    ) as link:
        link.connect()
        proof = {HEADER: own_key(a_clone(2).host).proof(link.sock.get_channel_binding(BINDING))}

        def info() -> bytes:
            link.request("GET", "/domain/v1/info", headers=proof)
            return link.getresponse().read()

        assert HOST.encode() in info()
        assert renewing.enrolling.look() is False, "it waits until its record names the next"
        (report,) = renewing.enrolling.reports
        assert "not known yet to" in report.waiting
        assert renewing.shown() == before
        assert renewing.record.look()
        assert renewing.pins[0] == sha256(before)
        assert renewing.enrolling.look() is False, "the other member was not looked for yet"
        renewing.port.peers.look()
        assert renewing.enrolling.look() is True, "it cannot be reached, and nobody waits for it"
        after = renewing.shown()
        assert after != before
        assert after == renewing.der(SSLSERVER)
        assert renewing.pins == (sha256(before), sha256(after)), "both are known at the moment of the switch"
        assert HOST.encode() in info(), "the connection of before lives"
    assert renewing.port.running.restarts_asked_for == 0
    assert member.info().told_by.host == HOST, "who pins the one before is not refused"
    assert renewing.record.look()
    assert renewing.pins == (sha256(after), sha256(before))
    assert renewing.server.operations == ["simplereenroll"]
    renewing.clock.at += OVERLAP_SECONDS
    renewing.record.look()
    renewing.clock.at += OVERLAP_SECONDS
    assert renewing.record.look()
    assert renewing.pins == (sha256(after),)


def test_member_proves_itself_by_either_key_while_its_record_names_both(renewing):
    """Before the switch by the one in use, after it by the next, and by the one before for a while; by none later."""
    clone = a_clone(2)
    renewing.port.member(2)
    store, following = renewing.services.store, own_key("next.example.org")
    known = next(one for one in store.members() if one.id == clone.id)

    def goes_on(own: MemberKey) -> bool:
        try:
            return bool(renewing.port.client("enterprise", own=own).info())
        except PermissionDenied:
            return False

    first = own_key(clone.host)
    assert (goes_on(first), goes_on(following)) == (True, False)
    both = replace(known, other_tls_sha256=following.sha256)
    store.put_member(both, known)
    assert (goes_on(first), goes_on(following)) == (True, True)
    switched = replace(both, tls_sha256=following.sha256, other_tls_sha256=first.sha256)
    store.put_member(switched, both)
    assert (goes_on(first), goes_on(following)) == (True, True)
    store.put_member(replace(switched, other_tls_sha256=""), switched)
    assert (goes_on(first), goes_on(following)) == (False, True)


def test_subsystem_certificate_comes_into_the_record_and_goes_with_it(renewing):
    """A member is known by its next one before it comes with it, without anybody registering that with a user."""
    services = renewing.services
    shared = renewing.der(SUBSYSTEM)
    services.users.add("subsystem", LOCAL, groups=[Group.OCSP_ADMINISTRATORS], certificates=[shared])
    renewing.port.publish()

    def come_in() -> str:
        (me,) = services.store.members()
        here = replace(me, host="127.0.0.1", secure_port=renewing.port.port)
        return connector(services.layout, services.in_use.now)(here).info().told_by.host

    assert come_in() == HOST
    renewing.renews(SUBSYSTEM)
    renewing.due()
    assert renewing.enrolling.look() is False
    assert renewing.der(SUBSYSTEM) == shared
    assert renewing.record.look()
    renewing.port.publish()
    assert renewing.enrolling.look() is True
    (me,) = services.store.members()
    assert renewing.der(SUBSYSTEM) != shared
    assert me.client_certificates == (renewing.der(SUBSYSTEM),)
    assert come_in() == HOST
    assert services.users.find("subsystem", LOCAL).certificates == (shared,)
    services.store.put_member(replace(me, client_certificates=()), me)
    with pytest.raises(PermissionDenied, match="no user has the certificate"):
        come_in()


def test_audit_log_comes_from_one_signer_to_the_next_by_the_word_of_the_first(renewing):
    """Who trusts the certificate of before alone verifies the whole log; without its signature over the change nobody."""
    services, keeping = renewing.services, renewing.port.keeping
    layout = services.layout
    services.in_use.listen(lambda now: sign_audit_log(keeping, layout, now), AUDIT_SIGNING)
    sign_audit_log(keeping, layout, services.settings)
    before = find(services.settings, AUDIT_SIGNING).certificate
    renewing.renews(AUDIT_SIGNING)
    renewing.due()
    assert renewing.enrolling.look() is True
    after = find(services.in_use.now(), AUDIT_SIGNING).certificate
    assert after != before
    services.audit.record("SOMETHING", LOCAL, "success")
    keeping.keep_last()
    proof = prove(layout.audit_log, Trust([before]))
    assert proof.broken is None
    assert proof.unsigned == 0
    assert proof.signatures >= 2
    lines = layout.audit_log.read_bytes()
    assert sha256(after.public_bytes(Encoding.DER)).encode() in lines
    only_after = prove(layout.audit_log, Trust([after]))
    assert "whom nothing says to trust" in only_after.broken.why, "the next does not vouch for the one before"


@pytest.mark.parametrize("name", [SSLSERVER, SUBSYSTEM, AUDIT_SIGNING])
def test_own_certificate_is_certified_by_a_command_of_the_site(renewing, tmp_path, name):
    """The program gets the request and no word of ours; while it fails the one in use stays, then its answer is used."""
    request, answer, program = (tmp_path / one for one in ("asked.csr", "answer.pem", "certify"))
    program.write_text(f"#!/bin/sh\ncat >{request}\nexec cat {answer}\n")
    program.chmod(0o700)
    renewing.renews(name, by="exec", command=str(program))
    renewing.due()
    before = renewing.der(name)
    with pytest.raises(ClientError, match=f"{name} cannot be renewed: .*ended with 1"):
        renewing.enrolling.look()
    assert renewing.der(name) == before
    csr = x509.load_pem_x509_csr(request.read_bytes())
    extensions = tuple((one.value, one.critical) for one in csr.extensions)
    validity = {"not_before": int(time.time()) - DAY, "not_after": FAR}
    issued = renewing.port.ca.issue(name, key=_Public(csr.public_key()), extensions=extensions, **validity)
    answer.write_bytes(issued.pem)
    renewing.clock.at += 60
    renewing.enrolling.look()
    renewing.record.look()
    renewing.enrolling.look()
    assert renewing.der(name) == issued.der != before
    assert renewing.enrolling.reports[0].why == ""
    assert renewing.server.operations == []


def test_refused_certificate_leaves_the_one_in_use_and_is_told_of(renewing):
    """A server that gives nothing is asked again later with the same request."""
    renewing.renews(SSLSERVER, user="nobody")
    renewing.due()
    before = renewing.der(SSLSERVER)
    for _ in range(2):
        with pytest.raises(ClientError, match=r"sslserver cannot be renewed: .*401"):
            renewing.enrolling.look()
    (report,) = renewing.enrolling.reports
    assert "401" in str(report)
    assert renewing.der(SSLSERVER) == before
    assert len(list(renewing.services.layout.alias.glob("sslserver*.csr"))) <= 2


def test_same_key_is_certified_again_where_the_policy_says_so(renewing):
    """With newKey=false the certificate changes, and the key that the others have pinned by it stays."""
    renewing.renews(AUDIT_SIGNING, newKey="false")
    key = find(renewing.services.in_use.now(), AUDIT_SIGNING)
    renewing.due()
    assert renewing.enrolling.look() is True
    now = find(renewing.services.in_use.now(), AUDIT_SIGNING)
    assert now.files.key_file == key.files.key_file
    assert now.certificate != key.certificate
    assert now.certificate.public_key() == key.certificate.public_key()
    assert read_passwords(renewing.services.layout.password_conf)[INTERNAL]


def test_disowned_key_is_renewed_at_once_and_by_another_one(renewing):
    """What somebody may have who was taken out is not waited for, nor kept by a policy of the same key."""
    renewing.renews(AUDIT_SIGNING, newKey="false")
    certificate = find(renewing.services.settings, AUDIT_SIGNING).certificate
    assert renewing.enrolling.look() is False
    store = renewing.services.store
    ring = store.keyring()
    store.put_keyring(replace(ring, disowned=(public_key_hash(certificate),)), ring)
    assert renewing.enrolling.look() is True
    now = find(renewing.services.in_use.now(), AUDIT_SIGNING).certificate
    assert now.public_key() != certificate.public_key()
    assert renewing.enrolling.look() is False

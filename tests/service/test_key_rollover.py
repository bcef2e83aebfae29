"""A CA's life after its first key: rollovers, renewals, other spellings, a separate CRL key (RFC 5280 6.3.3, 7.1)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from tests.manifests import write_manifest
from tests.memory_store import MemoryStore
from tests.pki import CA, DAY, NOW, ca_version, moment, shared_key, signing_hash
from tests.service.recording import ADMIN, AGENT, PUBLISHER, RecordingAudit
from tests.service.test_selftests import StoppedClock
from tests.serving import request_for, responder, signer

from vouchd.core.policy import ResponsePolicy, UnknownIssuerPolicy
from vouchd.errors import CRLRejected, OCSPResponseStatus
from vouchd.index.folder import IndexFolder
from vouchd.index.manifest import load_manifest
from vouchd.pkix import der
from vouchd.pkix.certs import issuer_hashes, key_id
from vouchd.pkix.signatures import digest_identifier
from vouchd.service.admitting import Admitting, Served
from vouchd.service.authorities import Authorities
from vouchd.service.explaining import Signers, explain
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.service.terms import Answer

OLD = CA.create("Lab CA", key=shared_key("EC", 5))
NEW = CA.create("Lab CA", key=shared_key("EC", 6), not_before=NOW - 9 * DAY)
GOOD, REVOKED = 7, 8


class Member:
    """A responder that has its facts in memory and its index files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, audit = folder, MemoryStore(), RecordingAudit()
        permission = Permission(audit)
        self.authorities = Authorities(self.store, permission, audit)
        self.ingesting = Ingesting(self.store, Indexing(self.store, IndexFolder(folder)), permission, audit)

    def add(self, *cas: CA) -> None:
        for ca in cas:
            self.authorities.add(ca.der, AGENT)

    def accept(self, crl: bytes, at: int = NOW):
        return self.ingesting.accept_crl(crl, "push", PUBLISHER, at)

    def answer(
        self, issuer: CA, serial: int, *signers, at: int = NOW, digest: hashes.HashAlgorithm | None = None
    ) -> Answer:
        write_manifest(self.folder, 1, self.store.authorities(), self.store.epochs())
        ours = responder(load_manifest(self.folder), *(signers or (signer(OLD.issue_signer()),)))
        return ours.answer(request_for(issuer, serial, digest=digest), at)

    def status(self, issuer: CA, serial: int) -> str:
        answer = self.answer(issuer, serial)
        return answer.cert_statuses[0].value if answer.cert_statuses else answer.cause


@pytest.fixture
def member(tmp_path):
    return Member(tmp_path)


def spelt(common_name: str, kind: _ASN1Type, key) -> CA:
    """A self-signed CA whose name has that string type."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name, kind)])
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), 7, moment(NOW - DAY), moment(NOW + DAY)
    ).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    made = builder.add_extension(x509.SubjectKeyIdentifier(b"another one"), critical=False)
    return CA(made.sign(key, signing_hash(key)), key)


def test_rollover_revoked_certificate_of_the_old_key_is_revoked_by_the_new_keys_crl(member):
    """RFC 5280 6.3.3 (b)(1), (f): one CRL for the name speaks for all, under whichever key they were issued."""
    member.add(OLD)
    member.accept(OLD.crl({}, number=1))
    assert member.status(OLD, REVOKED) == "good"
    member.add(NEW)
    member.accept(NEW.crl({REVOKED: None}, number=2))
    assert {member.status(issuer, REVOKED) for issuer in (OLD, NEW)} == {"revoked"}
    assert {member.status(issuer, GOOD) for issuer in (OLD, NEW)} == {"good"}


def test_rollover_old_keys_crl_still_speaks_for_the_new_key(member):
    """A CA may sign its CRLs with the old key for a while after the rollover."""
    member.add(OLD, NEW)
    member.accept(OLD.crl({REVOKED: None}, number=3))
    assert member.status(NEW, REVOKED) == "revoked"


def test_rollover_crl_of_an_unknown_key_is_refused_and_says_what_to_do(member):
    """A key that nobody has added proves nothing, whatever name it signs under."""
    member.add(OLD)
    with pytest.raises(CRLRejected, match="not known to have") as refused:
        member.accept(NEW.crl({}, number=2))
    assert "vouchd authority add" in refused.value.hint


def test_crl_of_another_spelling_of_the_name_is_taken(member):
    """RFC 5280 7.1: string type, case and white space do not make another name."""
    key = shared_key("EC", 5)
    member.add(spelt("Lab CA", _ASN1Type.UTF8String, key))
    member.accept(spelt(" LAB  ca", _ASN1Type.PrintableString, key).crl({REVOKED: None}, number=1))
    assert member.status(OLD, REVOKED) == "revoked"


def test_cert_id_of_any_spelling_with_any_key_is_matched(member):
    """Certificates name their issuer as it was spelt when they were issued: each pair of spelling and key is the CA."""
    printable = spelt("Lab CA", _ASN1Type.PrintableString, shared_key("EC", 6))
    member.add(OLD, printable)
    member.accept(OLD.crl({REVOKED: None}, number=1))
    for digest in (hashes.SHA1(), hashes.SHA256()):
        for subject in (OLD, printable):
            for key in (OLD, printable):
                issuer = replace(subject, certificate=_certified(subject, key), key=key.key)
                assert member.answer(issuer, REVOKED, digest=digest).cert_statuses == ("revoked",)


def _certified(subject: CA, key: CA) -> x509.Certificate:
    named = subject.certificate.subject
    builder = x509.CertificateBuilder(named, named, key.key.public_key(), 9, moment(NOW), moment(NOW + DAY))
    return builder.sign(key.key, signing_hash(key.key))


def test_renewed_certificate_with_another_key_identifier_needs_no_step(member):
    """Key identifiers help to choose a certificate (RFC 5280 4.2.1.1); what the key has signed is the CA's."""
    member.add(OLD)
    renewed = spelt("Lab CA", _ASN1Type.UTF8String, OLD.key)
    member.accept(renewed.crl({REVOKED: None}, number=1))
    assert member.status(OLD, REVOKED) == "revoked"


def test_crl_issuer_of_the_policy_may_sign_the_cas_own_crl(member):
    """A CRL issuer that the operator has named is believed; once it is taken away its CRL counts no longer."""
    member.add(OLD)
    crl = NEW.crl({REVOKED: None}, number=2)
    authority = member.authorities.find("CN=Lab CA")
    policy = replace(authority.policy, crl_issuers=(NEW.der,))
    member.authorities.set_policy(authority.id, policy, ADMIN)
    member.accept(crl)
    assert member.status(OLD, REVOKED) == "revoked"
    member.authorities.set_policy(authority.id, authority.policy, ADMIN)
    assert member.status(OLD, GOOD) == "no_crl"


def test_certificate_taken_out_of_the_history_ends_what_rests_on_it(member):
    """CertIDs of its key are answered for no longer, and a CRL that it signed counts no more."""
    member.add(OLD, NEW)
    member.accept(NEW.crl({REVOKED: None}, number=2))
    fingerprint = NEW.certificate.fingerprint(signing_hash(NEW.key)).hex()
    member.authorities.remove_certificate("CN=Lab CA", fingerprint, AGENT)
    assert member.status(OLD, REVOKED) == "no_crl"
    assert member.answer(NEW, GOOD).status is OCSPResponseStatus.UNAUTHORIZED


def test_rollover_each_key_is_answered_by_the_signer_that_it_certified(member):
    """RFC 6960 4.2.2.2: clients want the signer certified by the CA that the CertID names, which is name and key."""
    member.add(OLD, NEW)
    member.accept(NEW.crl({}, number=2))
    old, new = OLD.issue_signer("old signer"), NEW.issue_signer("new signer", key=shared_key("EC", 3))
    for issuer, expected in ((OLD, old), (NEW, new)):
        answer = member.answer(issuer, GOOD, signer(old), signer(new, "new"))
        assert expected.certificate.public_bytes(Encoding.DER) in answer.response_der


def test_rollover_the_default_signer_answers_for_a_key_without_one(member):
    """A signer under one key of the CA is better than none for the other."""
    member.add(OLD, NEW)
    member.accept(NEW.crl({}, number=2))
    assert member.answer(NEW, GOOD, signer(OLD.issue_signer())).status is OCSPResponseStatus.SUCCESSFUL


def test_ca_of_another_name_stays_another_ca(member):
    """The history is one name's."""
    member.add(OLD, CA.create("Lab CA 2", key=shared_key("EC", 6)))
    assert len(member.store.authorities()) == 2


def test_rollover_cert_ids_of_both_keys_are_answered_together(member):
    """Where one signer may answer for all CertIDs of a request it does, though each key has a signer of its own."""
    member.add(OLD, NEW)
    member.accept(NEW.crl({REVOKED: None}, number=2))
    write_manifest(member.folder, 1, member.store.authorities(), member.store.epochs())
    signers = signer(OLD.issue_signer()), signer(NEW.issue_signer("new", key=shared_key("EC", 3)), "new")
    ids = [cert_id(issuer, serial) for issuer, serial in ((OLD, REVOKED), (NEW, GOOD))]
    answer = responder(load_manifest(member.folder), *signers).answer(request(*ids), NOW)
    assert answer.cert_statuses == ("revoked", "good")


def cert_id(issuer: CA, serial: int) -> bytes:
    """DER of a CertID."""
    name, key = issuer_hashes(issuer.certificate, "SHA-1")
    hashed = (der.tlv(der.OCTET_STRING, name), der.tlv(der.OCTET_STRING, key))
    return der.tlv(der.SEQUENCE, digest_identifier("SHA-1"), *hashed, der.integer_tlv(serial))


def request(*cert_ids: bytes) -> bytes:
    """DER of a request for these CertIDs."""
    listed = der.tlv(der.SEQUENCE, *(der.tlv(der.SEQUENCE, one) for one in cert_ids))
    return der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, listed))


def test_foreign_cert_id_beside_ours_goes_by_the_policy_for_unknown_issuers(member):
    """It is `unknown` by itself where the policy says so; by default the whole request is unauthorized."""
    member.add(OLD)
    member.accept(OLD.crl({REVOKED: None}, number=1))
    write_manifest(member.folder, 1, member.store.authorities(), member.store.epochs())
    sent = request(cert_id(OLD, REVOKED), cert_id(CA.create("Stranger"), GOOD))
    holding, ours = load_manifest(member.folder), signer(OLD.issue_signer())
    answer = responder(holding, ours, unknown_issuer=UnknownIssuerPolicy.UNKNOWN).answer(sent, NOW)
    assert answer.cert_statuses == ("revoked", "unknown")
    assert responder(holding, ours).answer(sent, NOW).status is OCSPResponseStatus.UNAUTHORIZED


# Microsoft's CA issues a CRL for each of its keys, of one number, without any scope: told by its extension CA Version.


def of_key(issuer: CA, index: int, revoked: dict, number: int) -> bytes:
    """DER of the CRL of the CA's key of that index."""
    return issuer.crl(revoked, number=number, extensions=(ca_version(index),))


def test_crls_of_one_number_for_each_key_stand_beside_each_other(member):
    """Each says what its key's certificates are: the new key's CRL takes nothing from the old key's."""
    member.add(OLD, NEW)
    member.accept(of_key(OLD, 0, {REVOKED: None}, 5))
    assert member.status(NEW, GOOD) == "no_crl"
    member.accept(of_key(NEW, 1, {GOOD: None}, 5))
    member.accept(of_key(OLD, 0, {REVOKED: None}, 6))
    assert [member.status(OLD, serial) for serial in (GOOD, REVOKED)] == ["good", "revoked"]
    assert [member.status(NEW, serial) for serial in (GOOD, REVOKED)] == ["revoked", "good"]


def test_explanation_is_that_of_the_key_that_a_client_names(member):
    """Each key's certificates are explained as they are answered; without a key it is that of the newest one."""
    member.add(OLD, NEW)
    member.accept(of_key(OLD, 0, {REVOKED: None}, 5))
    member.accept(of_key(NEW, 1, {GOOD: None}, 5))
    (authority,) = member.store.authorities()
    signers = Signers(SignerCertificates({"signer": OLD.issue_signer().der}), "signer")
    write_manifest(member.folder, 1, member.store.authorities(), member.store.epochs())
    state = load_manifest(member.folder)

    def explained(serial: int, key: str = "") -> str:
        octets = serial.to_bytes(1)
        policy = ResponsePolicy()
        return explain(state, policy, signers, authority_id=authority.id, serial=octets, at=NOW, key=key).answer

    for issuer in (OLD, NEW):
        for serial in (GOOD, REVOKED):
            assert explained(serial, key_id(issuer.der)) == member.status(issuer, serial)
    newest = OLD if authority.certificate_der == OLD.der else NEW
    assert [explained(serial) for serial in (GOOD, REVOKED)] == [member.status(newest, one) for one in (GOOD, REVOKED)]


def test_crls_for_each_key_that_were_kept_apart_are_united_without_loss(member):
    """An earlier version had a CA for each key, each with a CRL of the same scope: none takes the other's place."""
    for ca, index, revoked in ((OLD, 0, REVOKED), (NEW, 1, GOOD)):
        apart = Member(member.folder)
        apart.add(ca)
        apart.accept(of_key(ca, 0, {revoked: None}, 5))
        (authority,), (epoch,) = apart.store.authorities(), apart.store.epochs()
        crl = of_key(ca, index, {revoked: None}, 5)
        sha256 = hashlib.sha256(crl).hexdigest()
        member.store.put_authority(replace(authority, label=f"key {index}"))
        facts = {"base": replace(epoch.base, sha256=sha256, size_bytes=len(crl)), "issuer_key": "", "key_only": False}
        member.store.commit_epoch(replace(epoch, **facts), {sha256: crl})
    member.authorities.unite_all(ADMIN)
    Indexing(member.store, IndexFolder(member.folder)).prepare()
    assert len(member.store.epochs()) == 2
    assert [member.status(OLD, serial) for serial in (GOOD, REVOKED)] == ["good", "revoked"]
    assert [member.status(NEW, serial) for serial in (GOOD, REVOKED)] == ["revoked", "good"]


def test_base_of_the_new_key_under_a_delta_of_the_old_one_is_admitted_by_every_member(member):
    """A base that comes late stands under the delta held; the facts name the key of the newest CRL, as admitting asks."""
    member.add(OLD, NEW)
    member.accept(OLD.crl({}, number=10))
    member.accept(OLD.crl({REVOKED: None}, number=12, base=10))
    (epoch,) = member.accept(NEW.crl({}, number=11))
    assert epoch.delta is not None
    other = Admitting(Served, StoppedClock())
    indexing = Indexing(member.store, IndexFolder(member.folder), other)
    assert not indexing.prepare().refusals
    for issuer in (OLD, NEW):
        assert member.status(issuer, REVOKED) == "revoked"

"""Issuing: serials, profiles, extensions, limits."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from tests.pki import DAY, NOW, name, new_key, shared_key

from vouchd.ca.certification import build_issued
from vouchd.ca.facts import IssuedStatus
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import CertificateRequest
from vouchd.errors import IssuanceError, NotFound
from vouchd.pkix.certs import check_signer

SHORT_KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505  to be refused


def extension(record, kind):
    certificate = x509.load_der_x509_certificate(record.der)
    return certificate.extensions.get_extension_for_class(kind).value


def test_issue_server_certificate_says_where_its_status_is_found(issue):
    """AIA, CRL distribution point and freshest CRL come from the CA's settings."""
    record = issue(names=(x509.DNSName("www.example.org"),))
    access = extension(record, x509.AuthorityInformationAccess)
    assert [(a.access_method, a.access_location.value) for a in access] == [
        (AuthorityInformationAccessOID.OCSP, "http://ocsp.example/")
    ]
    assert extension(record, x509.CRLDistributionPoints)[0].full_name[0].value == "http://crl.example/ca.crl"
    assert extension(record, x509.FreshestCRL)[0].full_name[0].value == "http://crl.example/delta.crl"
    assert extension(record, x509.SubjectAlternativeName).get_values_for_type(x509.DNSName) == ["www.example.org"]


@pytest.mark.parametrize(
    "profile, usage",
    [
        (ProfileName.SERVER, [ExtendedKeyUsageOID.SERVER_AUTH]),
        (ProfileName.USER, [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION]),
        (ProfileName.OCSP_SIGNING, [ExtendedKeyUsageOID.OCSP_SIGNING]),
        (ProfileName.SUBSYSTEM, [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
    ],
)
def test_issue_profile_sets_extended_key_usage_and_no_ca(issue, profile, usage):
    """Each profile has exactly its uses, and none but `ca` makes a CA."""
    record = issue(profile=profile)
    assert list(extension(record, x509.ExtendedKeyUsage)) == usage
    assert extension(record, x509.BasicConstraints).ca is False


def test_issue_ocsp_signer_is_a_delegated_signer_without_warning(manager, issue):
    """The ocsp-signing profile satisfies RFC 6960 4.2.2.2 with id-pkix-ocsp-nocheck."""
    record = issue(profile=ProfileName.OCSP_SIGNING)
    fitness = check_signer(x509.load_der_x509_certificate(record.der), manager.certificate, NOW)
    assert fitness.warnings == ()
    assert not fitness.own_key
    with pytest.raises(x509.ExtensionNotFound):
        extension(record, x509.AuthorityInformationAccess)


def test_issue_serials_are_positive_distinct_and_stored(manager, issue):
    """Serials are positive, random over 128 bits (not one of 40 is short), and found again."""
    records = [issue() for _ in range(40)]
    numbers = [x509.load_der_x509_certificate(r.der).serial_number for r in records]
    assert len(set(numbers)) == 40
    assert all(0 < number < 1 << 128 for number in numbers)
    assert max(number.bit_length() for number in numbers) > 120
    assert [manager.store.get(r.serial) for r in records] == records


def test_issue_serial_taken_is_refused_and_nothing_is_stored(manager, issue, monkeypatch):
    """Two certificates never share a serial, whatever the random source does."""
    monkeypatch.setattr("secrets.randbits", lambda _: 77)
    issue("first")
    with pytest.raises(Exception, match="taken"):
        issue("second")
    assert [r.subject for r in manager.store.certificates()] == ["CN=first"]


def test_issue_all_with_one_refused_stores_none(manager):
    """A batch is all or nothing."""
    good = CertificateRequest(name("good"), shared_key().public_key(), ProfileName.USER)
    weak = CertificateRequest(name("weak"), SHORT_KEY.public_key(), ProfileName.USER)
    with pytest.raises(IssuanceError, match="1024"):
        manager.issue_all([good, weak], NOW)
    assert list(manager.store.certificates()) == []


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256K1()).public_key(), x25519.X25519PrivateKey.generate().public_key()],
    ids=["secp256k1", "x25519"],
)
def test_issue_for_key_of_other_kind_is_refused(manager, key):
    """Only kinds of key that every part of this system verifies are certified."""
    with pytest.raises(IssuanceError) as caught:
        manager.issue(CertificateRequest(name("x"), key, ProfileName.USER), NOW)
    assert caught.value.hint


def test_issue_for_the_ca_s_own_key_is_refused(manager):
    """An end entity with the CA's key would be the CA."""
    with pytest.raises(IssuanceError, match="own key"):
        manager.issue(CertificateRequest(name("x"), manager.certificate.public_key(), ProfileName.USER), NOW)


def test_issue_without_any_name_is_refused(manager):
    """A certificate names its subject somewhere."""
    with pytest.raises(IssuanceError, match="neither"):
        manager.issue(CertificateRequest(x509.Name([]), shared_key().public_key(), ProfileName.SERVER), NOW)


def test_issue_beyond_the_ca_s_end_is_refused_but_the_default_is_cut(manager, issue):
    """A certificate never outlives its CA: asked for explicitly it is refused, by default it ends with the CA."""
    late = NOW + 3600 * DAY
    with pytest.raises(IssuanceError, match="outlive"):
        issue(at=late, validity_seconds=100 * DAY)
    assert issue(at=late).not_after == NOW + 3650 * DAY
    with pytest.raises(IssuanceError, match="not valid now"):
        issue(at=NOW + 3651 * DAY)
    with pytest.raises(IssuanceError, match="not valid now"):
        issue(at=NOW - 1)


def test_issue_key_encipherment_only_for_rsa(issue, manager):
    """keyEncipherment belongs to RSA alone (RFC 8813 forbids it for EC)."""
    assert not extension(issue(), x509.KeyUsage).key_encipherment
    request = CertificateRequest(name("rsa"), shared_key("RSA").public_key(), ProfileName.SERVER)
    assert extension(manager.issue(request, NOW), x509.KeyUsage).key_encipherment


def test_get_unknown_serial_raises_not_found_with_hint(manager):
    """A serial never issued is named in the error."""
    with pytest.raises(NotFound, match="0x1234") as caught:
        manager.store.get(b"\x12\x34")
    assert caught.value.hint


def test_certificates_of_a_status_are_listed_in_order_of_issuance(manager, issue):
    """The list can be narrowed to one status and keeps its order."""
    records = [issue(f"n{i}", at=NOW + i) for i in range(5)]
    manager.hold(records[3].serial, NOW + 9)
    manager.revoke(records[1].serial, NOW + 9)
    assert [r.subject for r in manager.store.certificates()] == [f"CN=n{i}" for i in range(5)]
    assert [r.subject for r in manager.store.certificates(IssuedStatus.HELD)] == ["CN=n3"]
    assert [r.subject for r in manager.store.certificates(IssuedStatus.VALID)] == ["CN=n0", "CN=n2", "CN=n4"]


def test_build_issued_path_length_stands_only_in_ca_certificates(manager):
    """A path length in a request for an end entity has no effect."""
    request = CertificateRequest(name("x"), new_key().public_key(), ProfileName.USER, path_length=3)
    certificate = build_issued(
        request, manager.certificate, manager.signer, 5, (NOW, NOW + DAY), manager.store.settings()
    )
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length is None

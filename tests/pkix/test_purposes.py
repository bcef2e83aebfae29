"""A certificate is held against what it is to be used for, before anything relies on it."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.pki import CA, DAY, NOW, moment, name, shared_key, signing_hash

from vouchd.errors import SigningError
from vouchd.pkix.purposes import MAX_CHAIN, Issuers, Purpose, chain_of, check_purpose, expiry_warning

ROOT = CA.create("Root")
USAGE = {
    Purpose.OCSP_SIGNING: ExtendedKeyUsageOID.OCSP_SIGNING,
    Purpose.TLS_SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Purpose.SUBSYSTEM: ExtendedKeyUsageOID.CLIENT_AUTH,
    Purpose.ADMINISTRATOR: ExtendedKeyUsageOID.CLIENT_AUTH,
}


def issued(*usages: x509.ObjectIdentifier, key_usage: x509.KeyUsage | None = None, names: bool = False, **kw):
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if usages:
        extensions.append((x509.ExtendedKeyUsage(usages), False))
    if key_usage:
        extensions.append((key_usage, True))
    if names:
        extensions.append((x509.SubjectAlternativeName([x509.DNSName("ocsp.example")]), False))
    return ROOT.issue(extensions=tuple(extensions), key=shared_key(), **kw).certificate


def sub_ca(issuer: CA, common_name: str, number: int, *, ca: bool = True, not_after: int = NOW + 365 * DAY) -> CA:
    """A CA below another."""
    key = shared_key("EC", number)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(moment(NOW - 365 * DAY))
        .not_valid_after(moment(not_after))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return CA(builder.sign(issuer.key, signing_hash(issuer.key)), key)


@pytest.mark.parametrize("purpose", Purpose)
def test_check_purpose_takes_a_certificate_with_the_usage(purpose):
    """Each purpose is content with the extendedKeyUsage it needs; audit signing needs none."""
    usages = [USAGE[purpose]] if purpose in USAGE else []
    assert isinstance(check_purpose(issued(*usages, names=True), purpose, NOW), tuple)


@pytest.mark.parametrize("purpose", USAGE)
def test_check_purpose_without_the_usage_raises(purpose):
    """Another extendedKeyUsage, or none, is not enough, and the one to ask for is named."""
    for certificate in (issued(), issued(ExtendedKeyUsageOID.CODE_SIGNING)):
        with pytest.raises(SigningError, match="extendedKeyUsage lacks") as caught:
            check_purpose(certificate, purpose, NOW)
        assert USAGE[purpose]._name in caught.value.hint


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("at", [NOW - 31 * DAY, NOW + 366 * DAY], ids=["before", "after"])
def test_check_purpose_outside_validity_raises(purpose, at):
    """Too early or too late is refused."""
    with pytest.raises(SigningError, match="not valid now"):
        check_purpose(issued(*USAGE.values()), purpose, at)


def test_check_purpose_with_a_key_usage_that_does_not_sign_raises():
    """keyUsage without digitalSignature is refused (RFC 5280 section 4.2.1.3)."""
    only_encipher = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
    with pytest.raises(SigningError, match="digitalSignature"):
        check_purpose(issued(key_usage=only_encipher), Purpose.AUDIT_SIGNING, NOW)


@pytest.mark.parametrize(
    ("purpose", "words"), [(Purpose.OCSP_SIGNING, "nocheck"), (Purpose.TLS_SERVER, "subjectAltName")]
)
def test_check_purpose_tells_what_is_doubtful(purpose, words):
    """What works but will surprise is a warning."""
    (warning,) = check_purpose(issued(USAGE[purpose]), purpose, NOW)
    assert words in warning


def test_chain_of_finds_the_cas_in_order():
    """Whatever order they are given in, the chain goes from below to the root."""
    middle = sub_ca(ROOT, "Middle", 2)
    low = sub_ca(middle, "Low", 3)
    leaf = low.issue("leaf").certificate
    bundle = [ROOT.certificate, low.certificate, middle.certificate]
    assert chain_of(leaf, bundle, Issuers([]), NOW) == (low.certificate, middle.certificate, ROOT.certificate)


def test_chain_of_ends_at_an_anchor():
    """A registered CA is enough although it is not a root and the root is not known."""
    middle = sub_ca(ROOT, "Middle", 2)
    leaf = middle.issue("leaf").certificate
    assert chain_of(leaf, [], Issuers([middle.certificate]), NOW) == (middle.certificate,)


def test_chain_of_goes_on_above_an_anchor():
    """A registered CA is no end where the one above it is registered, too: that has to be fit as well."""
    middle = sub_ca(ROOT, "Middle", 2)
    leaf = middle.issue("leaf").certificate
    anchors = Issuers([middle.certificate, ROOT.certificate])
    assert chain_of(leaf, [], anchors, NOW) == (middle.certificate, ROOT.certificate)
    with pytest.raises(SigningError, match="in the chain"):
        chain_of(leaf, [], anchors, int(ROOT.certificate.not_valid_after_utc.timestamp()) + 1)


def test_chain_of_of_an_anchor_under_its_own_name_looks_for_another_of_that_name():
    """A registered CA that issued itself in name alone, as after a change of its key, has the one with the key above."""
    new = sub_ca(ROOT, "Root", 3)
    leaf = new.issue("leaf").certificate
    assert new.certificate.subject == new.certificate.issuer == ROOT.certificate.subject
    assert chain_of(leaf, [], Issuers([new.certificate]), NOW) == (new.certificate,)
    for bundle, anchors in (([ROOT.certificate], [new.certificate]), ([], [new.certificate, ROOT.certificate])):
        assert chain_of(leaf, bundle, Issuers(anchors), NOW) == (new.certificate, ROOT.certificate)


def test_chain_of_without_the_issuer_raises():
    """A gap is told, with the way to close it."""
    middle = sub_ca(ROOT, "Middle", 2)
    leaf = middle.issue("leaf").certificate
    for bundle in ([], [middle.certificate]):
        with pytest.raises(SigningError, match="is not known") as caught:
            chain_of(leaf, bundle, Issuers([]), NOW)
        assert "--chain" in caught.value.hint


@pytest.mark.parametrize("broken", [{"ca": False}, {"not_after": NOW - DAY}], ids=["no CA", "expired"])
def test_chain_of_over_an_unfit_ca_raises(broken):
    """What is no CA, or is not valid now, issues nothing."""
    middle = sub_ca(ROOT, "Middle", 2, **broken)
    with pytest.raises(SigningError, match="'CN=Middle' in the chain"):
        chain_of(middle.issue("leaf").certificate, [middle.certificate, ROOT.certificate], Issuers([]), NOW)


def test_chain_of_more_than_the_limit_raises():
    """A chain that does not end is cut."""
    cas = [ROOT]
    for number in range(MAX_CHAIN + 1):
        cas.append(sub_ca(cas[-1], f"CA {number}", 10 + number))
    with pytest.raises(SigningError, match="longer than"):
        chain_of(cas[-1].issue("leaf").certificate, [ca.certificate for ca in cas], Issuers([]), NOW)


@pytest.mark.parametrize(
    ("life_days", "left_seconds", "words"),
    [
        (365, 31 * DAY, ""),
        (365, 30 * DAY, "expires in 30 days"),
        (90, 30 * DAY, "expires in 30 days"),
        (9, 4 * DAY, ""),
        (9, 3 * DAY, "expires in 3 days"),
        (9, DAY, "expires in 24 hours"),
        (9, 0, "has expired"),
        (9, -DAY, "has expired"),
    ],
)
def test_expiry_warning_comes_early_but_not_too_early(life_days, left_seconds, words):
    """30 days before the end, of a short-lived certificate when a third is left."""
    certificate = issued(not_before=NOW - life_days * DAY, not_after=NOW)
    assert expiry_warning(certificate, NOW - left_seconds) == words

"""Which certificates are a CA's, and with whose keys its CRLs may be signed (RFC 5280 6.3.3)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.pki import CA, DAY, NOW, moment, name, shared_key, signing_hash
from tests.service.world import INDIRECT
from tests.serving import serving

from vouchd.core.facts import Authority
from vouchd.core.key_history import (
    crl_issuers,
    has_key_id,
    is_ca,
    issuer_names,
    issuer_of,
    pairs,
    speaks_for,
    united,
    with_certificate,
    without_certificate,
)
from vouchd.pkix import names
from vouchd.pkix.certs import key_id, name_and_key
from vouchd.pkix.crl import CRLHeader, read_header

OLD = CA.create("Lab CA", not_before=NOW - 200 * DAY)
NEW = CA.create("Lab CA", key=shared_key("EC", 5), not_before=NOW - 100 * DAY)
OTHER = CA.create("Other CA", key=shared_key("EC", 6))
SIGNS_CRLS = x509.KeyUsage(False, False, False, False, False, False, True, False, False)
FOR_CRLS = OLD.issue("Lab CRLs", key=shared_key("EC", 7), extensions=((SIGNS_CRLS, True),))
OWN_CRL_KEY = OLD.issue("Lab CA", key=shared_key("EC", 8), not_before=NOW - DAY, extensions=((SIGNS_CRLS, True),))


def authority(*cas: CA, crl_issuers: tuple[bytes, ...] = ()) -> Authority:
    """A CA with these certificates, the newest first, and those that may sign its CRLs."""
    made = serving(cas[0]).authority
    policy = replace(made.policy, crl_issuers=crl_issuers)
    return replace(made, history=tuple(ca.der for ca in cas[1:]), policy=policy)


def header(issuer, *, indirect: bool = False, known_as: CA | None = None) -> CRLHeader:
    """The header of a CRL of that issuer, with the key identifier of another one, or its own."""
    signer = CA(issuer.certificate, issuer.key)
    ski = x509.SubjectKeyIdentifier.from_public_key((known_as or issuer).key.public_key())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(moment(NOW))
        .next_update(moment(NOW + DAY))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
    )
    if indirect:
        builder = builder.add_extension(INDIRECT, critical=True)
    return read_header(builder.sign(issuer.key, signing_hash(issuer.key)).public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    ("issuer", "indirect", "named", "expected"),
    [
        (OLD, False, (), (OLD, NEW)),
        (NEW, False, (), (NEW, OLD)),
        (OTHER, False, (), ()),
        (OTHER, False, (OTHER,), ()),
        (OTHER, True, (OTHER,), (OTHER,)),
        (OTHER, True, (), ()),
        (FOR_CRLS, False, (FOR_CRLS,), (FOR_CRLS,)),
        (FOR_CRLS, False, (), ()),
        (FOR_CRLS, True, (FOR_CRLS, OTHER), (FOR_CRLS,)),
        (OLD, False, (OWN_CRL_KEY, OTHER), (OLD, OWN_CRL_KEY, NEW)),
    ],
)
def test_crl_may_be_signed_by_who_has_its_name_and_may_speak_for_the_ca(issuer, indirect: bool, named, expected):
    """The CA's own keys, the likeliest first; and whom its policy names, where the CRL is indirect or for it alone."""
    ca = authority(OLD, NEW, crl_issuers=tuple(one.der for one in named))
    assert crl_issuers(ca, header(issuer, indirect=indirect)) == tuple(one.der for one in expected)


def test_certificate_for_crls_that_another_ca_has_issued_speaks_for_nobody_else():
    """Only one that this CA has issued, and that issues none itself, is for its CRLs by its own name."""
    foreign = OTHER.issue("Lab CRLs", key=shared_key("EC", 9), extensions=((SIGNS_CRLS, True),))
    constraints = ((x509.BasicConstraints(ca=True, path_length=None), True),)
    subordinate = OLD.issue("Lab Sub CA", key=shared_key("EC", 10), extensions=constraints)
    for one in (foreign, subordinate):
        assert crl_issuers(authority(OLD, crl_issuers=(one.der,)), header(one)) == ()
        assert crl_issuers(authority(OLD, crl_issuers=(one.der,)), header(one, indirect=True)) == (one.der,)


def test_key_identifier_decides_nothing_but_the_order():
    """A CRL that names the other key is tried with that first; one that names none, or a stranger's, in their order."""
    ca = authority(OLD, NEW)
    assert crl_issuers(ca, header(OLD, known_as=NEW)) == (NEW.der, OLD.der)
    assert crl_issuers(ca, header(OLD, known_as=OTHER)) == (OLD.der, NEW.der)
    twice = authority(OLD, NEW, crl_issuers=(OLD.der,))
    assert crl_issuers(twice, header(OLD)) == (OLD.der, NEW.der)


def test_certificate_without_key_identifier_may_be_of_any():
    """Where one of the two has none there is nothing to tell them apart by."""
    bare = self_signed()
    ski = x509.SubjectKeyIdentifier.from_public_key(OLD.key.public_key()).digest
    assert has_key_id(OLD.der, ski)
    assert not has_key_id(NEW.der, ski)
    assert has_key_id(NEW.der, None)
    assert has_key_id(bare, ski)


def self_signed(*extensions: x509.ExtensionType) -> bytes:
    """A certificate with just these extensions."""
    key, subject = shared_key("EC", 11), name("Lab CA")
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 7, moment(NOW - DAY), moment(NOW + DAY))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, signing_hash(key)).public_bytes(Encoding.DER)


CA_TRUE, CA_FALSE = (x509.BasicConstraints(ca=ca, path_length=None) for ca in (True, False))
SIGNS_CERTIFICATES = x509.KeyUsage(False, False, False, False, False, True, False, False, False)


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ((), False),
        ((CA_FALSE,), False),
        ((CA_TRUE,), True),
        ((CA_TRUE, SIGNS_CERTIFICATES), True),
        ((CA_TRUE, SIGNS_CRLS), False),
        ((CA_FALSE, SIGNS_CERTIFICATES), False),
        ((SIGNS_CERTIFICATES,), False),
    ],
)
def test_certificate_is_a_cas_by_basic_constraints_and_key_usage(extensions, expected: bool):
    """RFC 5280 4.2.1.3, 4.2.1.9: cA, and keyCertSign where there is keyUsage."""
    assert is_ca(x509.load_der_x509_certificate(self_signed(*extensions))) is expected


def test_crl_counts_by_a_key_that_the_ca_has_or_has_named():
    """It counts no more once the key was taken out; facts of earlier versions do not know the key."""
    ca = authority(OLD, NEW, crl_issuers=(OTHER.der,))
    for one in (OLD, NEW, OTHER):
        assert speaks_for(ca, key_id(one.der))
    assert speaks_for(ca, "")
    assert not speaks_for(ca, key_id(FOR_CRLS.der))
    assert not speaks_for(authority(OLD), key_id(NEW.der))


def test_names_under_which_crls_may_come_are_those_of_all_its_certificates():
    """Also of the CRL issuers that it names; one that cannot be read has none."""
    ca = authority(OLD, NEW, crl_issuers=(OTHER.der, b"junk"))
    expected = {names.canonical(name_and_key(one.der)[0]) for one in (OLD, OTHER)}
    assert issuer_names(ca) == expected


def test_pairs_are_every_spelling_with_every_key_that_may_issue():
    """A key for CRLs alone has issued nothing; its certificate may be spelt as another's."""
    spelt = CA.create("  LAB ca", key=shared_key("EC", 9))
    ca = authority(OLD, spelt, CA(OWN_CRL_KEY.certificate, OWN_CRL_KEY.key))
    spellings = [name_and_key(one.der)[0] for one in (OLD, spelt)]
    keys = [name_and_key(one.der)[1] for one in (OLD, spelt)]
    assert list(pairs(ca)) == [(spelling, key) for spelling in spellings for key in keys]


def test_issuer_of_a_certificate_is_the_ca_and_key_that_signed_it():
    """Whichever certificate of its history that is; the name alone is nobody's."""
    known = [authority(OTHER), authority(OLD, NEW)]
    for ca, owner in ((OLD, known[1]), (NEW, known[1]), (OTHER, known[0])):
        issuer = issuer_of(ca.issue("leaf").certificate, known)
        assert issuer is not None
        assert (issuer.authority, issuer.key) == (owner, key_id(ca.der))
    namesake = CA.create("Lab CA", key=shared_key("EC", 12))
    assert issuer_of(namesake.issue("leaf").certificate, known) is None
    assert issuer_of(OLD.issue("leaf").certificate, []) is None


def test_newest_certificate_of_a_ca_stands_for_it():
    """That of a CA before one for CRLs alone, then the later begin, then the later end; each stands once."""
    longer = CA.create("Lab CA", key=shared_key("EC", 5), not_before=NOW - 100 * DAY, not_after=NOW + 4000 * DAY)
    whole = with_certificate(authority(OLD), OWN_CRL_KEY.der, NEW.der, longer.der, OLD.der)
    assert whole.certificates == (longer.der, NEW.der, OLD.der, OWN_CRL_KEY.der)


def test_certificate_that_is_not_there_or_the_last_one_is_not_taken_out():
    """A CA has at least one certificate that issues; what is left for CRLs alone is none."""
    ca = authority(OLD, CA(OWN_CRL_KEY.certificate, OWN_CRL_KEY.key))
    with pytest.raises(ValueError, match="no such certificate"):
        without_certificate(ca, NEW.der)
    with pytest.raises(ValueError, match="only one"):
        without_certificate(ca, OLD.der)
    assert without_certificate(ca, OWN_CRL_KEY.der).certificates == (OLD.der,)


def test_cas_of_one_certificate_are_united_alike_by_every_member():
    """The id decides where nothing else does, whatever the order they come in."""
    twins = [replace(authority(OLD), id=letter, label=letter) for letter in "ab"]
    for order in (twins, twins[::-1]):
        whole, others = united(order)
        assert (whole.id, [one.id for one in others]) == ("b", ["a"])

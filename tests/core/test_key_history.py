"""What becomes of a CA's certificates, and of those that sign its CRLs, when CAs are united or one is taken out."""

from __future__ import annotations

from dataclasses import replace

from tests.pki import CA, DAY, NOW, shared_key
from tests.serving import serving

from vouchd.core.facts import Authority
from vouchd.core.key_history import Issuer, issuer_of, united, with_certificate, without_certificate
from vouchd.pkix.certs import key_id

OLDEST, OLD, NEW = (
    CA.create("Lab CA", key=shared_key("EC", number), not_before=NOW - days * DAY)
    for number, days in ((4, 300), (5, 200), (6, 100))
)
ISSUERS = tuple(CA.create(f"CRL issuer {number}", key=shared_key("EC", 1)).der for number in range(3))


def authority(ca: CA, *crl_issuers: bytes) -> Authority:
    """The CA with one certificate, and those that may sign its CRLs."""
    made = serving(ca).authority
    return replace(made, policy=replace(made.policy, crl_issuers=crl_issuers))


def test_united_ca_has_the_certificates_and_crl_issuers_of_all():
    """The newest one stays, with its label; of the others nothing is lost that CRLs are judged by."""
    new, old = authority(NEW, ISSUERS[0]), authority(OLD, ISSUERS[1], ISSUERS[0])
    whole, others = united([old, new, authority(OLDEST, ISSUERS[2])])
    assert (whole.id, whole.label) == (new.id, new.label)
    assert whole.certificates == (NEW.der, OLD.der, OLDEST.der)
    assert set(whole.policy.crl_issuers) == set(ISSUERS)
    assert len(whole.policy.crl_issuers) == len(ISSUERS)
    assert [one.certificate_der for one in others] == [OLD.der, OLDEST.der]


def test_ca_without_one_of_its_certificates_keeps_all_others():
    """Whichever is taken out: the others stay, in their order."""
    whole = with_certificate(authority(NEW), OLD.der, OLDEST.der)
    for gone in whole.certificates:
        rest = without_certificate(whole, gone)
        assert rest.certificates == tuple(one for one in whole.certificates if one != gone)


def test_issuer_of_a_certificate_is_its_ca_and_the_key_that_signed():
    """Whatever other CAs have the name, and however many keys the CA has had; of no CA where none of them signed."""
    other = CA.create("Lab CA", key=shared_key("EC", 7))
    ca = with_certificate(authority(NEW), OLD.der)
    for key, made in ((key_id(OLD.der), OLD), (key_id(NEW.der), NEW)):
        leaf = made.issue("leaf").certificate
        assert issuer_of(leaf, [authority(other), ca]) == Issuer(ca, key)
    assert issuer_of(OLDEST.issue("leaf").certificate, [authority(other), ca]) is None

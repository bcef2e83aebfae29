"""May this CRL replace what is held? A case for each clause of RFC 5280 5.2 and 6.3.3, and of replay protection."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.pki import CA, DAY, HOUR, NOW, moment, shared_key, signing_hash

from vouchd.core import acceptance
from vouchd.core.acceptance import judge, judge_issuer
from vouchd.core.facts import CRLRecord, Epoch, IssuingPointId
from vouchd.errors import CRLError, CRLForked, CRLOutOfOrder, CRLRejected, CRLStale, outcome
from vouchd.pkix.crl import read_header


@pytest.fixture
def ca():
    return CA.create("Lab CA")


def record(der: bytes) -> CRLRecord:
    header = read_header(der)
    return CRLRecord(
        hashlib.sha256(der).hexdigest(),
        len(der),
        header.this_update,
        header.next_update,
        header.crl_number,
        header.base_crl_number,
    )


def in_use(base: bytes, delta: bytes | None = None) -> dict[str, object]:
    """What is held after these CRLs, as `judge` takes it."""
    point = IssuingPointId("a" * 64, read_header(base).scope.scope_id)
    idp = read_header(base).scope.idp_der
    epoch = Epoch(point, 1, record(base), NOW, record(delta) if delta else None, idp)
    records = [epoch.base] + ([epoch.delta] if epoch.delta else [])
    numbers = [r.crl_number for r in records if r.crl_number is not None]
    return {"current": epoch, "high_water": (max(numbers, default=None), max(r.this_update for r in records))}


NOTHING: dict[str, object] = {"current": None, "high_water": (None, 0)}


def taken(der: bytes, issuer, **rest) -> None:
    """Returns when the CRL may be taken."""
    sha256 = hashlib.sha256(der).hexdigest()
    issuer_der = issuer if isinstance(issuer, bytes) else issuer.der
    judge(der, read_header(der), (issuer_der,), sha256=sha256, **({"at": NOW} | NOTHING | rest))


def refused(error, why: str, der: bytes, issuer, **rest) -> CRLError:
    """The CRL is refused with a precise message and a hint."""
    with pytest.raises(error, match=why) as refusal:
        taken(der, issuer, **rest)
    assert type(refusal.value) is error
    assert refusal.value.hint
    return refusal.value


# 6.3.3 (b), (f), (g): issuer, keyUsage, signature


@pytest.mark.parametrize("kind", ["RSA", "EC", "P-384", "Ed25519", "Ed448", "ML-DSA-65"])
def test_crl_signed_by_its_ca_is_taken(kind):
    """6.3.3 (g): the signature is verified, whatever the algorithm."""
    ca = CA.create(kind=kind)
    taken(ca.crl({5: None}), ca)


def test_crl_of_another_name_is_rejected(ca):
    """6.3.3 (b)(1): the issuer field is the CA's name."""
    refused(CRLRejected, "Other CA", CA.create("Other CA").crl({}), ca)


def test_crl_signed_by_another_key_is_rejected(ca):
    """6.3.3 (g): a signature that another key made proves nothing."""
    refused(CRLRejected, "signature", ca.crl({}, key=shared_key("EC", 7)), ca)


def test_crl_signed_by_a_key_of_another_type_is_rejected(ca):
    """6.3.3 (g): the algorithm must be one of the key's."""
    refused(CRLRejected, "signature", ca.crl({}, key=shared_key("RSA")), ca)


def test_crl_changed_after_signing_is_rejected(ca):
    """6.3.3 (g): one changed octet of what is signed is found."""
    der = ca.crl({0x7AAAAAAA: None}).replace(b"\x7a\xaa\xaa\xaa", b"\x7a\xaa\xaa\xab")
    refused(CRLRejected, "signature", der, ca)


def test_crl_of_another_key_identifier_is_rejected(ca):
    """6.3.3 (g): a CRL of a key that the CA is not known to have is refused, and the key it names is told."""
    other = CA.create("Lab CA", key=shared_key("EC", 8))
    identifier = x509.SubjectKeyIdentifier.from_public_key(other.key.public_key()).digest.hex()
    refused(CRLRejected, f"authorityKeyIdentifier {identifier}", other.crl({}), ca)


def test_signature_is_verified_once_for_each_key(ca, monkeypatch):
    """A signature over a large CRL takes its time, and a CA may have many certificates of one key."""
    keys = []

    def verify(key, *_):
        keys.append(key)
        raise ValueError

    monkeypatch.setattr(acceptance, "verify", verify)
    der, other = ca.crl({}), CA.create("Lab CA", key=shared_key("EC", 8))
    renewed = CA.create("Lab CA", key=ca.key)
    with pytest.raises(CRLRejected):
        judge_issuer(der, read_header(der), (ca.der, renewed.der, other.der, ca.der))
    assert keys == [ca.key.public_key(), other.key.public_key()]


def certificate(ca, *extensions) -> bytes:
    """A certificate of the CA's name and key with other extensions."""
    made = ca.certificate
    builder = x509.CertificateBuilder(
        made.issuer, made.subject, ca.key.public_key(), 1, made.not_valid_before_utc, made.not_valid_after_utc
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(ca.key, signing_hash(ca.key)).public_bytes(Encoding.DER)


def test_key_usage_without_crl_sign_is_rejected(ca):
    """6.3.3 (f): where keyUsage is present it has cRLSign."""
    usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
    refused(CRLRejected, "cRLSign", ca.crl({}), certificate(ca, usage))


def test_certificate_without_extensions_may_sign(ca):
    """6.3.3 (f): only a keyUsage that is present restricts; an absent key identifier compares with nothing."""
    taken(ca.crl({}), certificate(ca))


def test_certificate_that_cannot_be_read_is_rejected(ca):
    """A damaged certificate of the issuer is a reason told, not a crash."""
    refused(CRLRejected, "cannot be used", ca.crl({}), b"\x30\x00")


# 5.1.2.4, 5.1.2.5: times


def test_this_update_within_the_tolerance_is_taken(ca):
    """Clocks of CA and responder may differ a little."""
    taken(ca.crl({}, this_update=NOW + 300), ca)


def test_this_update_in_the_future_is_rejected(ca):
    """A CRL from the future is not in force yet."""
    refused(CRLRejected, "in the future", ca.crl({}, this_update=NOW + 301), ca)


def test_tolerance_is_the_callers(ca):
    """The tolerance can be set."""
    refused(CRLRejected, "in the future", ca.crl({}, this_update=NOW + 1), ca, tolerance_seconds=0)


def test_next_update_not_after_this_update_is_rejected(ca):
    """5.1.2.5: nextUpdate is later than thisUpdate."""
    der = ca.crl({})
    header = replace(read_header(der), next_update=NOW - HOUR)
    with pytest.raises(CRLRejected, match="nextUpdate is not after"):
        judge(der, header, (ca.der,), sha256="", at=NOW, current=None, high_water=(None, 0))


def test_expired_crl_is_taken(ca):
    """An expired CRL is the CA's word nevertheless; what is answered from it is policy."""
    taken(ca.crl({}, this_update=NOW - 9 * DAY, next_update=NOW - DAY), ca)


# Replay: number and thisUpdate never go back


def test_held_crl_is_stale(ca):
    """The very CRL that is held is told apart from a fork."""
    der = ca.crl({5: None})
    refused(CRLStale, "held already", der, ca, **in_use(der))


def test_held_delta_is_stale(ca):
    """The same for the delta that is held."""
    base, delta = ca.crl({5: None}, number=4), ca.crl({6: None}, number=5, base=4)
    refused(CRLStale, "held already", delta, ca, **in_use(base, delta))


def test_next_number_is_taken(ca):
    """5.2.3: numbers rise; one may be left out, and thisUpdate may stay."""
    taken(ca.crl({}, number=9), ca, **in_use(ca.crl({5: None}, number=7)))


def test_same_number_other_bytes_is_forked(ca):
    """5.2.3: two CRLs of one number and scope are two truths."""
    refused(CRLForked, "number 7", ca.crl({}, number=7), ca, **in_use(ca.crl({5: None}, number=7)))


def test_lower_number_is_stale(ca):
    """5.2.3: a lower number is an older CRL, whatever its thisUpdate."""
    older = ca.crl({}, number=6, this_update=NOW)
    refused(CRLStale, "number 6 is lower than 7", older, ca, **in_use(ca.crl({5: None}, number=7)))


def test_higher_number_is_newer_whatever_its_this_update(ca):
    """5.2.3: the number decides where both have one; a CA's clock may have been set right meanwhile."""
    taken(ca.crl({}, number=8, this_update=NOW - 2 * HOUR), ca, **in_use(ca.crl({}, number=7)))


def test_number_after_a_crl_without_one_needs_a_later_this_update(ca):
    """Where one of them has no number thisUpdate decides."""
    numbered = ca.crl({}, number=8, this_update=NOW - 2 * HOUR)
    refused(CRLStale, "thisUpdate is 3600 seconds before", numbered, ca, **in_use(numberless(ca, NOW - HOUR)))


def test_lower_number_than_ever_is_stale_after_the_ca_was_removed(ca):
    """What the store remembers of an issuing point protects where no epoch is left."""
    refused(CRLStale, "lower than 8", ca.crl({}, number=7), ca, high_water=(8, NOW - DAY))
    taken(ca.crl({}, number=8), ca, high_water=(8, NOW - HOUR))


def test_crl_without_number_needs_a_later_this_update(ca):
    """Version 1 and other CRLs without a number are ordered by thisUpdate alone."""
    now = numberless(ca, NOW - HOUR)
    taken(now, ca, **in_use(numberless(ca, NOW - 2 * HOUR)))
    refused(CRLStale, "thisUpdate", now, ca, **in_use(numberless(ca, NOW - HOUR, serial=6)))
    refused(CRLStale, "thisUpdate", now, ca, **in_use(numberless(ca, NOW)))


def numberless(ca, this_update: int, serial: int = 5, *extensions: x509.ExtensionType) -> bytes:
    builder = x509.CertificateRevocationListBuilder(ca.certificate.subject, moment(this_update), moment(NOW + DAY))
    entry = x509.RevokedCertificateBuilder(serial, moment(NOW - DAY)).build()
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    made = builder.add_revoked_certificate(entry).sign(ca.key, signing_hash(ca.key))
    return made.public_bytes(Encoding.DER)


# 5.2.4: delta CRLs


def test_delta_of_the_held_base_is_taken(ca):
    """5.2.4 (c): the complete CRL has BaseCRLNumber or a later number."""
    taken(ca.crl({6: None}, number=5, base=4), ca, **in_use(ca.crl({}, number=4)))
    taken(ca.crl({6: None}, number=6, base=3), ca, **in_use(ca.crl({}, number=4)))


def test_delta_without_any_base_is_out_of_order(ca):
    """5.2.4: a delta alone says nothing about the rest."""
    refused(CRLOutOfOrder, "no complete CRL", ca.crl({}, number=5, base=4), ca)


def test_delta_of_a_later_base_is_out_of_order(ca):
    """5.2.4 (c): changes between the held CRL and BaseCRLNumber would be missing."""
    delta = ca.crl({}, number=9, base=8)
    refused(CRLOutOfOrder, "needs the complete CRL 8", delta, ca, **in_use(ca.crl({}, number=4)))


def test_delta_of_a_base_without_number_is_out_of_order(ca):
    """5.2.3: without numbers nothing can be combined."""
    base = numberless(ca, NOW - HOUR)
    refused(CRLOutOfOrder, "without a number", ca.crl({}, number=9, base=8), ca, **in_use(base))


def test_delta_not_after_the_base_is_stale(ca):
    """5.2.4 (d): the complete CRL's number is less than the delta's."""
    for number in (3, 4):
        delta = ca.crl({6: None}, number=number, base=2)
        refusal = refused(CRLStale, "nothing beyond", delta, ca, **in_use(ca.crl({}, number=4)))
        assert refusal.changes_nothing is (number == 4)


def test_delta_with_a_later_base_than_itself_is_rejected(ca):
    """5.2.4: BaseCRLNumber is of an earlier CRL."""
    refused(CRLRejected, "later base", ca.crl({}, number=5, base=6), ca, **in_use(ca.crl({}, number=4)))


def test_delta_that_is_its_own_base_needs_that_base(ca):
    """Base and number may be one (RFC 5280 5.2.4); the complete CRL of that number has to be there before it."""
    delta = ca.crl({}, number=5, base=5)
    refused(
        CRLOutOfOrder,
        "needs the complete CRL 5 or a later one; held is CRL 4",
        delta,
        ca,
        **in_use(ca.crl({}, number=4)),
    )


def test_delta_without_a_number_is_rejected(ca):
    """A delta that cannot be put in order with others is none (RFC 5280 5.2.3)."""
    delta = numberless(ca, NOW - HOUR, 5, x509.DeltaCRLIndicator(4))
    refused(CRLRejected, "^a delta CRL without CRL number", delta, ca, **in_use(ca.crl({}, number=4)))


def test_delta_after_delta_is_taken_and_never_back(ca):
    """The next delta takes the place of the held one; an older or a forked one does not."""
    state = in_use(ca.crl({}, number=4), ca.crl({6: None}, number=6, base=4))
    taken(ca.crl({7: None}, number=7, base=4), ca, **state)
    refused(CRLForked, "number 6", ca.crl({7: None}, number=6, base=4), ca, **state)
    refused(CRLStale, "number 5 is lower", ca.crl({7: None}, number=5, base=4), ca, **state)


def test_delta_of_another_scope_is_out_of_order(ca):
    """5.2.4 (b): the scopes of delta and complete CRL are the same."""
    users = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
    delta = ca.crl({}, number=5, base=4, idp=users)
    refused(CRLOutOfOrder, "no complete CRL of the scope", delta, ca, **in_use(ca.crl({}, number=4)))
    taken(delta, ca, **in_use(ca.crl({}, number=4, idp=users)))


def test_complete_crl_of_the_deltas_number_is_taken(ca):
    """5.2.3: a complete and a delta CRL made together share a number; that is no fork."""
    state = in_use(ca.crl({}, number=4), ca.crl({6: None}, number=6, base=4))
    taken(ca.crl({6: None}, number=6), ca, **state)


def test_complete_crl_below_the_delta_is_taken_as_its_new_base(ca):
    """5.2.4: the delta stays over a complete CRL that arrives late, so nothing goes back."""
    state = in_use(ca.crl({}, number=4), ca.crl({6: None}, number=6, base=4))
    taken(ca.crl({}, number=5), ca, **state)
    refused(CRLStale, "number 3 is lower", ca.crl({}, number=3), ca, **state)
    refused(CRLForked, "number 4", ca.crl({9: None}, number=4), ca, **state)


@pytest.mark.parametrize("number", [6, 7])
def test_complete_crl_not_below_the_delta_is_held_against_all_that_was_in_use(ca, number):
    """5.2.3: what the store remembers counts beside what is held, as for a CRL without a delta."""
    state = in_use(ca.crl({}, number=4), ca.crl({6: None}, number=6, base=4)) | {"high_water": (9, NOW)}
    refused(CRLStale, f"number {number} is lower than 9", ca.crl({6: None}, number=number), ca, **state)


def test_delta_of_its_bases_number_is_nothing_to_do(ca):
    """5.2.3: a base and a delta that are issued together have one number; after the base the delta tells nothing more."""
    base, delta = ca.crl({5: None}, number=7), ca.crl({5: None}, number=7, base=6)
    with pytest.raises(CRLStale) as refusal:
        taken(delta, ca, **in_use(base))
    assert refusal.value.changes_nothing
    assert (outcome(refusal.value).exit_code, outcome(CRLStale("older")).exit_code) == (0, 65)


def test_lower_number_is_taken_on_an_administrators_word(ca):
    """A number that went up by mistake does not lock the CA out for ever; a delta cannot begin a new order."""
    state = in_use(ca.crl({5: None}, number=1007))
    lower = ca.crl({5: None}, number=8)
    refused(CRLStale, "lower than 1007", lower, ca, **state)
    taken(lower, ca, lower_number=True, **state)
    refused(CRLRejected, "delta", ca.crl({}, number=9, base=8), ca, lower_number=True, **state)
    refused(CRLRejected, "signature", ca.crl({}, number=8, key=shared_key("EC", 9)), ca, lower_number=True, **state)

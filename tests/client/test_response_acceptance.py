"""What makes an answer trustworthy, and each thing that makes it not (RFC 6960 section 3.2)."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.client.answers import NONCE_OCTETS, SERIAL, answer, ask_for, error_answer, joined, resigned, wrap
from tests.pki import CA, DAY, HOUR, NOW, new_key, serial_octets, shared_key

from vouchd.client.authority import SignerRole
from vouchd.client.parsing import parse_response
from vouchd.client.response_acceptance import NonceRule, Terms, Verified, verify_response
from vouchd.core.facts import CertStatus
from vouchd.errors import ClientError, VerificationError
from vouchd.pkix import der
from vouchd.pkix.reasons import Reason
from vouchd.pkix.signatures import ALGORITHMS, DIGESTS


def check(response_der: bytes, ca: CA, *, query=None, at: int = NOW, **terms) -> Verified:
    query = query or ask_for(ca)
    return verify_response(
        parse_response(response_der), ca.certificate, query.cert_ids, nonce=query.nonce, at=at, terms=Terms(**terms)
    )


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA.create()


@pytest.fixture(scope="module")
def signer(ca):
    return ca.issue_signer()


# --- answers to rely upon


@pytest.mark.parametrize("by_name", [False, True])
def test_answer_of_the_ca_itself_is_accepted(ca, by_name) -> None:
    """The CA's own key may sign, and the responder may be named by key or by name (RFC 6960 4.2.2.2, 4.2.2.3)."""
    verified = check(answer(ca, ca, by_name=by_name), ca)
    assert (verified.role, verified.singles[0].status) == (SignerRole.ISSUER, CertStatus.GOOD)


@pytest.mark.parametrize("by_name", [False, True])
def test_answer_of_a_delegated_signer_is_accepted(ca, signer, by_name) -> None:
    """A signer with id-kp-OCSPSigning that the CA issued itself may sign (RFC 6960 4.2.2.2)."""
    verified = check(answer(ca, signer, by_name=by_name), ca)
    assert (verified.role, verified.signer, verified.warnings) == (SignerRole.DELEGATED, signer.certificate, ())


def test_answer_of_a_trusted_signer_is_accepted_only_when_named(ca) -> None:
    """A signer of another CA counts only where the caller names its certificate (RFC 6960 4.2.2.2, case 1)."""
    other = CA.create("Other CA", key=shared_key("EC", 5))
    foreign = other.issue_signer("foreign")
    response = answer(ca, foreign)
    assert check(response, ca, trusted_signers=(foreign.der,)).role is SignerRole.TRUSTED
    with pytest.raises(VerificationError, match="not issued by the CA itself"):
        check(response, ca)


def test_revoked_answer_tells_time_and_reason(ca, signer) -> None:
    """Revocation time and reason are facts of the answer (RFC 6960 4.2.1, RevokedInfo)."""
    response = answer(ca, signer, revoked=True, reason=x509.ReasonFlags.key_compromise)
    single = check(response, ca).singles[0]
    assert (single.status, single.revocation_time, single.reason) == (
        CertStatus.REVOKED,
        NOW - 2 * DAY,
        Reason.KEY_COMPROMISE,
    )


def test_unknown_answer_is_told_as_unknown(ca, signer) -> None:
    """`unknown` is an answer, not an error."""
    assert check(answer(ca, signer, unknown=True), ca).singles[0].status is CertStatus.UNKNOWN


@pytest.mark.parametrize("digest", ["SHA-1", "SHA-256", "SHA-384", "SHA-512"])
def test_every_digest_of_certids_is_matched(ca, signer, digest) -> None:
    """CertIDs of each digest are recognised in the answer."""
    query = ask_for(ca, digest=digest)
    assert check(answer(ca, signer, query=query), ca, query=query).singles[0].cert_id.digest == digest


def test_several_certids_come_in_the_order_asked(ca, signer) -> None:
    """Whatever the order of the responses, the caller finds them in the order of the question."""
    response = joined(signer, *(answer(ca, signer, query=ask_for(ca, serial)) for serial in (3, 1, 2)))
    verified = check(response, ca, query=ask_for(ca, 1, 2, 3))
    assert [single.cert_id.serial for single in verified.singles] == [b"\x01", b"\x02", b"\x03"]


PSS = {"SHA256withRSA/PSS": hashes.SHA256(), "SHA384withRSA/PSS": hashes.SHA384(), "SHA512withRSA/PSS": hashes.SHA512()}


@pytest.mark.parametrize("name", PSS)
def test_rsa_pss_signature_is_verified_and_named(ca, name) -> None:
    """RSASSA-PSS with each digest verifies; the salt is as long as the digest (RFC 4055)."""
    signer = ca.issue_signer(kind="RSA")
    pad = padding.PSS(padding.MGF1(PSS[name]), PSS[name].digest_size)
    response = resigned(
        answer(ca, signer),
        ALGORITHMS[name].identifier_der,
        lambda tbs: signer.key.sign(tbs, pad, PSS[name]),
        (signer,),
    )
    assert check(response, ca).algorithm == name


@pytest.mark.parametrize("kind", ["Ed25519", "Ed448", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"])
def test_signature_of_keys_that_hash_inside_is_verified_and_named(ca, kind) -> None:
    """EdDSA and ML-DSA signatures verify."""
    signer = ca.issue_signer(kind=kind)
    response = resigned(answer(ca, ca), ALGORITHMS[kind].identifier_der, signer.key.sign, (signer,))
    with pytest.raises(VerificationError, match="does not verify"):
        check(response, ca)  # the responder ID still names the CA
    assert check(answer(ca, signer), ca).algorithm == kind


@pytest.mark.parametrize("kind", ["RSA", "P-384", "P-521"])
def test_signature_of_other_keys_is_verified(ca, kind) -> None:
    """RSA PKCS #1 v1.5 and the larger curves verify."""
    assert check(answer(ca, ca.issue_signer(kind=kind)), ca).role is SignerRole.DELEGATED


# --- answers not to rely upon: each with its own message


def foreign_key_hash(ca: CA):
    other = CA.create(key=shared_key("EC", 6))  # the same name, another key
    return ask_for(other)


UNTRUSTWORTHY = {
    "wrong key": (
        lambda ca, signer: resigned(
            answer(ca, signer),
            ALGORITHMS["SHA256withEC"].identifier_der,
            lambda tbs: shared_key("EC", 7).sign(tbs, ec.ECDSA(hashes.SHA256())),
            (signer,),
        ),
        {},
        "the signature of the answer does not verify: the signature is wrong",
    ),
    "changed answer": (
        lambda ca, signer: resigned(
            answer(ca, signer), ALGORITHMS["SHA256withEC"].identifier_der, lambda _: b"0", (signer,)
        ),
        {},
        "the signature of the answer does not verify: the signature is wrong",
    ),
    "algorithm of another key type": (
        lambda ca, signer: resigned(
            answer(ca, signer), ALGORITHMS["SHA256withRSA"].identifier_der, lambda _: bytes(256), (signer,)
        ),
        {},
        "the signature algorithm is of another type than the key",
    ),
    "signer not sent along": (
        lambda ca, signer: answer(ca, signer, certs=()),
        {},
        "the certificate of the responder that the answer names .* is not there",
    ),
    "only another certificate sent along": (
        lambda ca, signer: answer(ca, signer, certs=(ca.issue_signer("another", key=shared_key("EC", 8)),)),
        {},
        "the certificate of the responder that the answer names .* is not there",
    ),
    "signer of the CA without id-kp-OCSPSigning": (
        lambda ca, _: answer(ca, ca.issue("server")),
        {},
        "the signer's certificate is not for OCSP signing: CN=server",
    ),
    "signer for TLS only": (
        lambda ca, _: answer(
            ca, ca.issue("server", extensions=((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),))
        ),
        {},
        "the signer's certificate is not for OCSP signing: CN=server",
    ),
    "signer whose keyUsage forbids signatures": (
        lambda ca, _: answer(
            ca,
            ca.issue(
                "crl only",
                extensions=(
                    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False),
                    (x509.KeyUsage(False, False, False, False, False, False, True, False, False), True),
                ),
            ),
        ),
        {},
        "the signer's certificate is not for digital signatures: CN=crl only",
    ),
    "signer expired": (
        lambda ca, _: answer(ca, ca.issue_signer("old", not_after=NOW - 1)),
        {},
        "the signer's certificate is outside its validity: CN=old",
    ),
    "signer not yet valid": (
        lambda ca, _: answer(ca, ca.issue_signer("early", not_before=NOW + 1)),
        {},
        "the signer's certificate is outside its validity: CN=early",
    ),
    "signer of another CA of the same name": (
        lambda ca, _: answer(ca, CA.create(key=shared_key("EC", 6)).issue_signer("twin's")),
        {},
        "the signer was not issued by the CA itself: CN=twin's",
    ),
    "another serial": (
        lambda ca, signer: answer(ca, signer, query=ask_for(ca, SERIAL + 1)),
        {},
        "nothing is said of the certificate that was asked for",
    ),
    "another issuer key": (
        lambda ca, signer: answer(ca, signer, query=foreign_key_hash(ca)),
        {},
        "nothing is said of the certificate that was asked for",
    ),
    "another digest": (
        lambda ca, signer: answer(ca, signer, query=ask_for(ca, digest="SHA-1")),
        {},
        "nothing is said of the certificate that was asked for",
    ),
    "two answers for one": (
        lambda ca, signer: joined(signer, answer(ca, signer), answer(ca, signer, revoked=True)),
        {},
        "more than one thing is said of the certificate",
    ),
    "thisUpdate in the future": (
        lambda ca, signer: answer(ca, signer, this_update=NOW + 301),
        {},
        "thisUpdate lies in the future",
    ),
    "nextUpdate passed": (
        lambda ca, signer: answer(ca, signer, next_update=NOW - 301),
        {},
        "the answer is out of date: nextUpdate has passed",
    ),
    "older than the caller allows": (
        lambda ca, signer: answer(ca, signer, this_update=NOW - HOUR - 301, next_update=None),
        {"max_age_seconds": HOUR},
        "the answer is older than 3600 s",
    ),
    "critical extension not understood": (
        lambda ca, signer: answer(
            ca, signer, extensions=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),)
        ),
        {},
        "a critical extension that is not understood: 1.2.3.4",
    ),
}


@pytest.mark.parametrize("case", UNTRUSTWORTHY)
def test_untrustworthy_answer_is_refused_with_its_reason(ca, signer, case) -> None:
    """Each flaw alone makes the answer worthless, and the message names that flaw (RFC 6960 section 3.2)."""
    make, terms, message = UNTRUSTWORTHY[case]
    with pytest.raises(VerificationError, match=message):
        check(make(ca, signer), ca, **terms)


def test_next_update_before_this_update_is_refused(ca, signer) -> None:
    """An answer whose interval is empty is refused, whatever the tolerance (RFC 6960 4.2.2.1)."""
    usual = answer(ca, signer, this_update=NOW - 10, next_update=NOW)
    tbs = ocsp.load_der_ocsp_response(usual).tbs_response_bytes
    swapped = tbs.replace(der.generalized_time(NOW), der.generalized_time(NOW - 20))
    signature = signer.key.sign(swapped, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(VerificationError, match="nextUpdate lies before thisUpdate"):
        check(wrap(swapped, ALGORITHMS["SHA256withEC"].identifier_der, signature, (signer,)), ca)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (ocsp.OCSPResponseStatus.MALFORMED_REQUEST, "malformedRequest"),
        (ocsp.OCSPResponseStatus.INTERNAL_ERROR, "internalError"),
        (ocsp.OCSPResponseStatus.TRY_LATER, "tryLater"),
        (ocsp.OCSPResponseStatus.SIG_REQUIRED, "sigRequired"),
        (ocsp.OCSPResponseStatus.UNAUTHORIZED, "unauthorized"),
    ],
)
def test_error_status_is_named_with_a_hint(ca, status, message) -> None:
    """An error status is no answer; it is told by its name in RFC 6960 with what it means."""
    with pytest.raises(ClientError, match=f"the responder answers {message}$") as caught:
        check(error_answer(status), ca)
    assert caught.value.hint
    assert not isinstance(caught.value, VerificationError)


# --- nonce


def test_nonce_that_is_repeated_is_accepted(ca, signer) -> None:
    """The nonce sent comes back (RFC 9654 section 2.1)."""
    query = ask_for(ca, nonce=NONCE_OCTETS)
    verified = check(answer(ca, signer, query=query, nonce=NONCE_OCTETS), ca, query=query, nonce=NonceRule.REQUIRE)
    assert verified.warnings == ()


def test_nonce_that_differs_is_refused_under_every_rule(ca, signer) -> None:
    """Another nonce than the one sent is a replay, however lenient the rule."""
    query = ask_for(ca, nonce=NONCE_OCTETS)
    response = answer(ca, signer, query=query, nonce=NONCE_OCTETS[::-1])
    for rule in NonceRule:
        with pytest.raises(VerificationError, match="the nonce is not the one that was sent"):
            check(response, ca, query=query, nonce=rule)


def test_nonce_that_is_missing_is_refused_warned_about_or_accepted(ca, signer) -> None:
    """A responder that signs ahead leaves the nonce out; the caller chooses what to make of that."""
    query = ask_for(ca, nonce=NONCE_OCTETS)
    response = answer(ca, signer, query=query)
    assert check(response, ca, query=query, nonce=NonceRule.ACCEPT).warnings == ()
    assert check(response, ca, query=query, nonce=NonceRule.WARN).warnings == ("the answer does not repeat the nonce",)
    with pytest.raises(VerificationError, match="the answer does not repeat the nonce"):
        check(response, ca, query=query, nonce=NonceRule.REQUIRE)


# --- doubts


def test_signer_without_nocheck_is_warned_about(ca) -> None:
    """The signer's own status is not asked for; without id-pkix-ocsp-nocheck the caller is told (RFC 6960 4.2.2.2.1)."""
    warnings = check(answer(ca, ca.issue_signer(nocheck=False)), ca).warnings
    assert [warning for warning in warnings if "id-pkix-ocsp-nocheck" in warning]


def test_sha1_signature_is_warned_about(ca) -> None:
    """Old responders sign with SHA-1; their answers are read, and the weakness is told."""
    signer = ca.issue_signer(kind="RSA")
    identifier = der.tlv(der.SEQUENCE, der.oid_tlv("1.2.840.113549.1.1.5"), der.tlv(der.NULL))
    sha1 = DIGESTS["SHA-1"]
    response = resigned(
        answer(ca, signer), identifier, lambda tbs: signer.key.sign(tbs, padding.PKCS1v15(), sha1), (signer,)
    )
    verified = check(response, ca)
    assert (verified.algorithm, len(verified.warnings)) == ("SHA1withRSA", 1)


def test_missing_next_update_is_warned_about(ca, signer) -> None:
    """Without nextUpdate nothing bounds the answer's life; an age limit of the caller's own does."""
    response = answer(ca, signer, next_update=None)
    assert [warning for warning in check(response, ca).warnings if "no nextUpdate" in warning]
    assert check(response, ca, max_age_seconds=2 * HOUR).warnings == ()


def test_clock_difference_within_the_tolerance_is_accepted(ca, signer) -> None:
    """Clocks differ: thisUpdate may lie ahead and nextUpdate behind by the tolerance."""
    response = answer(ca, signer, this_update=NOW + 300)
    assert check(response, ca).singles
    with pytest.raises(VerificationError):
        check(response, ca, tolerance_seconds=0)
    assert check(answer(ca, signer, next_update=NOW - 300), ca).singles


def test_certificates_without_use_beside_the_signer_do_no_harm(ca, signer) -> None:
    """A responder may send a chain; only the certificate of the responder ID counts."""
    other = ca.issue("other")
    assert check(answer(ca, signer, certs=(other, signer)), ca).signer == signer.certificate


def test_second_certificate_of_the_same_name_is_tried(ca) -> None:
    """A renewed signer has the same name: each certificate of that name is tried until one verifies."""
    old, renewed = ca.issue_signer("renewed", key=new_key()), ca.issue_signer("renewed", key=new_key())
    response = answer(ca, renewed, by_name=True, certs=(old, renewed))
    assert check(response, ca).signer == renewed.certificate


def test_serial_is_compared_as_der_octets(ca, signer) -> None:
    """A serial with its high bit set keeps its leading zero octet, in question and answer."""
    query = ask_for(ca, 0x80)
    assert check(answer(ca, signer, query=query), ca, query=query).singles[0].cert_id.serial == serial_octets(0x80)

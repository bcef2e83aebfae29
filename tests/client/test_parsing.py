"""OCSP responses as bytes: those of other software are read, what is no response is refused."""

from __future__ import annotations

from importlib.resources import files

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from tests.client.answers import NONCE_OCTETS, answer, wrap
from tests.pki import CA, DAY, HOUR, NOW

from vouchd.client.parsing import parse_response
from vouchd.core.facts import CertStatus
from vouchd.errors import ClientError, OCSPResponseStatus
from vouchd.pkix import der
from vouchd.pkix.reasons import Reason
from vouchd.pkix.signatures import ALGORITHMS

VECTORS = files("cryptography_vectors") / "x509" / "ocsp"

# File of cryptography_vectors -> status, entries, certificates sent along, extension names (of the response, of entries).
READABLE = {
    "ocsp-army.deps.mil-resp.der": ("revoked", 20, 1, [], []),
    "resp-delegate-unknown-cert.der": ("unknown", 1, 1, [], []),
    "resp-invalid-signature-oid.der": ("good", 1, 0, [], []),
    "resp-responder-key-hash.der": ("revoked", 1, 0, [], []),
    "resp-revoked-no-next-update.der": ("revoked", 1, 0, [], []),
    "resp-revoked-reason.der": ("revoked", 1, 1, ["nonce"], []),
    "resp-revoked.der": ("revoked", 1, 0, [], []),
    "resp-sct-extension.der": ("good", 1, 1, ["nonce"], ["1.3.6.1.4.1.11129.2.4.5"]),
    "resp-sha256.der": ("good", 1, 0, [], []),
    "resp-single-extension-reason.der": ("good", 1, 0, [], ["2.5.29.21"]),
    "resp-unknown-extension.der": ("revoked", 1, 1, ["1.3.6.1.5.5.7.48.1.2.200"], []),
    "resp-unknown-hash-alg.der": ("revoked", 1, 0, [], []),
}

UNREADABLE = {
    "req-sha1.der": "belongs",
    "resp-invalid-version.der": "version that is not v1",
    "resp-response-type-unknown-oid.der": "not id-pkix-ocsp-basic",
    "resp-successful-no-response-bytes.der": "status successful without a response",
    "resp-unknown-response-status.der": "response status 7",
}


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA.create()


def vector(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


@pytest.mark.parametrize("name", READABLE)
def test_response_of_other_software_is_read(name) -> None:
    """Responses collected from many responders give their facts."""
    response = parse_response(vector(name))
    basic = response.basic
    assert basic is not None
    assert response.der == vector(name)
    assert READABLE[name] == (
        basic.singles[0].status.value,
        len(basic.singles),
        len(basic.certificates),
        [extension.name for extension in basic.extensions],
        [extension.name for extension in basic.singles[0].extensions],
    )


@pytest.mark.parametrize("name", UNREADABLE)
def test_malformed_response_of_other_software_is_refused_with_its_reason(name) -> None:
    """What breaks RFC 6960 is not read, and the message says where."""
    with pytest.raises(ClientError, match=UNREADABLE[name]):
        parse_response(vector(name))


def test_every_response_vector_is_in_a_table() -> None:
    """A vector that a later version of the collection adds is looked at too."""
    names = {entry.name for entry in VECTORS.iterdir() if entry.name.split("-")[0] == "resp"}
    assert names <= READABLE.keys() | UNREADABLE.keys() | {"resp-unauthorized.der"}


def test_error_status_has_no_answer_in_it() -> None:
    """An error response is its status and nothing more (RFC 6960 section 2.3)."""
    response = parse_response(vector("resp-unauthorized.der"))
    assert (response.status, response.basic) == (OCSPResponseStatus.UNAUTHORIZED, None)


def test_facts_of_a_full_answer_are_all_readable(ca) -> None:
    """Times, reason, nonce, algorithm and responder of an answer come out as they were put in."""
    response = answer(ca, ca, revoked=True, reason=x509.ReasonFlags.certificate_hold, nonce=NONCE_OCTETS)
    basic = parse_response(response).basic
    assert basic is not None
    single = basic.singles[0]
    assert (basic.nonce, basic.algorithm, basic.responder_name_der) == (NONCE_OCTETS, "SHA256withEC", None)
    assert (single.status, single.reason, single.revocation_time) == (
        CertStatus.REVOKED,
        Reason.CERTIFICATE_HOLD,
        NOW - 2 * DAY,
    )
    assert (single.this_update, single.next_update) == (NOW - HOUR, NOW + DAY)


def test_absent_reason_is_told_apart_from_unspecified(ca) -> None:
    """No reason and the reason `unspecified` are two different statements."""
    absent = parse_response(answer(ca, ca, revoked=True)).basic
    unspecified = parse_response(answer(ca, ca, revoked=True, reason=x509.ReasonFlags.unspecified)).basic
    assert absent is not None
    assert unspecified is not None
    assert (absent.singles[0].reason, unspecified.singles[0].reason) == (Reason.ABSENT, Reason.UNSPECIFIED)


def test_bytes_after_the_response_are_refused(ca) -> None:
    """The response is the whole body; what follows it is not looked over."""
    with pytest.raises(ClientError, match="bytes after the end"):
        parse_response(answer(ca, ca) + b"\x00")


def test_signature_with_unused_bits_is_refused(ca) -> None:
    """A signature is whole octets; unused bits would let two encodings of one answer pass."""
    whole = wrap(b"\x30\x00", ALGORITHMS["Ed25519"].identifier_der, b"sig", ())
    with pytest.raises(ClientError, match="whole octets"):
        parse_response(whole.replace(b"\x03\x04\x00sig", b"\x03\x04\x01sig"))


def test_bare_nonce_octets_are_read(ca) -> None:
    """Responders older than RFC 8954 put the octets straight into extnValue."""
    nonce = der.tlv(der.OCTET_STRING, der.tlv(der.OCTET_STRING, NONCE_OCTETS))
    bare = der.tlv(der.OCTET_STRING, b"\xff\xff" + NONCE_OCTETS)  # as long, and no DER of an OCTET STRING
    response = answer(ca, ca, nonce=NONCE_OCTETS).replace(nonce, bare)
    basic = parse_response(response).basic
    assert basic is not None
    assert basic.nonce == b"\xff\xff" + NONCE_OCTETS


@given(st.binary(max_size=300))
def test_junk_is_refused_and_nothing_else_happens(junk) -> None:
    """Any bytes at all lead to a response or to ClientError, never to another exception."""
    with pytest.raises(ClientError, match="not an OCSP response"):
        parse_response(junk)


@given(st.data())
def test_response_with_a_changed_octet_is_read_or_refused(data) -> None:
    """One flipped octet anywhere leads to a response or to ClientError, never to another exception."""
    octets = bytearray(vector("resp-revoked-reason.der"))
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= data.draw(st.integers(1, 255))
    try:
        response = parse_response(bytes(octets))
    except ClientError:
        return
    assert response.der == octets

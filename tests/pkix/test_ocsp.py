"""OCSPRequest decoding: RFC 6960 section 4.1 and appendix B.1, RFC 9654 section 2.1."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA

from vouchd.errors import MalformedRequest
from vouchd.pkix import der
from vouchd.pkix.ocsp import NONCE, parse_request
from vouchd.pkix.signatures import digest_identifier

CA_ONE = CA.create("CA one")


def cert_id(*, digest: str = "SHA-1", serial: bytes = b"\x05", algorithm: bytes | None = None, size: int | None = None):
    """DER of a CertID of CA one's size of hashes."""
    length = size if size is not None else hashlib.new(digest.replace("-", "")).digest_size
    return der.tlv(
        der.SEQUENCE,
        algorithm if algorithm is not None else digest_identifier(digest),
        der.tlv(der.OCTET_STRING, b"n" * length),
        der.tlv(der.OCTET_STRING, b"k" * length),
        der.tlv(der.INTEGER, serial),
    )


def extension(oid: bytes, value: bytes, *, critical: bytes = b"") -> bytes:
    """DER of an Extension."""
    return der.tlv(der.SEQUENCE, der.tlv(der.OID, oid), critical, der.tlv(der.OCTET_STRING, value))


def nonce(octets: bytes, **kw) -> bytes:
    """DER of a nonce extension."""
    return extension(NONCE, der.tlv(der.OCTET_STRING, octets), **kw)


def request(
    *cert_ids: bytes,
    extensions: list[bytes] | None = None,
    single: bytes = b"",
    front: bytes = b"",
    signature: bytes = b"",
):
    """DER of an OCSPRequest."""
    items = [der.tlv(der.SEQUENCE, item, single) for item in (cert_ids or (cert_id(),))]
    tail = b"" if extensions is None else der.tlv(0xA2, der.tlv(der.SEQUENCE, *extensions))
    return der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, front, der.tlv(der.SEQUENCE, *items), tail), signature)


CRITICAL = b"\x01\x01\xff"
UNKNOWN_OID = der.oid_octets("1.2.3.4")


def test_request_by_cryptography_has_its_facts():
    """A request made by another implementation is read with the same facts."""
    leaf = CA_ONE.issue()
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf.certificate, CA_ONE.certificate, hashes.SHA256())
    built = builder.add_extension(x509.OCSPNonce(b"n" * 32), critical=False).build()
    parsed = parse_request(built.public_bytes(Encoding.DER))
    assert parsed.nonce == b"n" * 32
    assert parsed.cert_ids[0].serial == leaf.serial
    assert parsed.cert_ids[0].issuer == built.issuer_name_hash + built.issuer_key_hash
    assert parsed.cert_ids[0].digest == "SHA-256"


@pytest.mark.parametrize("digest", ["SHA-1", "SHA-256", "SHA-384", "SHA-512"])
def test_cert_id_of_each_digest_is_read_with_and_without_null_parameters(digest: str):
    """Both spellings of a digest's AlgorithmIdentifier mean the digest, and the CertID is kept as sent."""
    for null in (True, False):
        sent = cert_id(digest=digest, algorithm=digest_identifier(digest, null=null))
        parsed = parse_request(request(sent)).cert_ids[0]
        assert (parsed.digest, parsed.der) == (digest, sent)


def test_cert_id_of_unknown_digest_is_no_syntax_error():
    """An unsupported digest is well-formed; it just matches no issuer."""
    sent = cert_id(algorithm=der.tlv(der.SEQUENCE, der.oid_tlv("1.2.840.113549.2.5")), size=16)
    assert parse_request(request(sent)).cert_ids[0].digest is None


@pytest.mark.parametrize("octets", [b"", b"\x2b\x0e\x03\x82", b"\x2b\x80\x0e", b"\x2b" * 129])
def test_cert_id_with_a_hash_oid_of_other_form_is_malformed(octets: bytes):
    """A hash OID that is empty, cut, padded or beyond all measure is no OBJECT IDENTIFIER at all."""
    with pytest.raises(MalformedRequest, match="OBJECT IDENTIFIER"):
        parse_request(request(cert_id(algorithm=der.tlv(der.SEQUENCE, der.tlv(der.OID, octets)))))


def test_empty_list_of_extensions_is_none():
    """Bouncy Castle ends a request without extensions with `a2 02 30 00`; openssl answers it, and so do we."""
    sent = request(extensions=[])
    assert sent.endswith(bytes.fromhex("a2023000"))
    assert parse_request(sent).nonce is None
    assert parse_request(request(single=bytes.fromhex("a0023000"))).cert_ids == parse_request(request()).cert_ids


@pytest.mark.parametrize(
    ("sent", "unusual"),
    [
        (request(), False),
        (request(extensions=[]), False),
        (request(extensions=[nonce(b"n")]), False),
        (request(extensions=[extension(UNKNOWN_OID, b"junk")]), True),
        (request(single=der.tlv(0xA0, der.tlv(der.SEQUENCE, extension(UNKNOWN_OID, b"junk")))), True),
        (request(front=der.tlv(0xA1, der.tlv(0x82, b"anybody"))), True),
    ],
)
def test_request_with_what_its_client_chose_freely_is_unusual(sent: bytes, unusual: bool):
    """A name or an extension without meaning makes each request another one: it is read, and told apart."""
    assert parse_request(sent).unusual is unusual


def test_critical_extension_with_a_huge_oid_is_refused_unread():
    """What a stranger names an extension costs nothing to say: an OID of 64,000 octets is no OID."""
    with pytest.raises(MalformedRequest, match="64000 octets") as refused:
        parse_request(request(extensions=[extension(b"\x2a" + b"\xff" * 63_998 + b"\x01", b"", critical=CRITICAL)]))
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("size", [1, 32, 33, 127, 128])
def test_nonce_of_allowed_size_is_read(size: int):
    """RFC 9654: a nonce has 1 to 128 octets."""
    assert parse_request(request(extensions=[nonce(b"x" * size)])).nonce == b"x" * size


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(nonce(b""), id="empty"),
        pytest.param(nonce(b"x" * 129), id="129 octets"),
        pytest.param(extension(NONCE, b"raw nonce"), id="no inner OCTET STRING"),
        pytest.param(extension(NONCE, der.tlv(der.OCTET_STRING, b"x") + b"y"), id="bytes after the inner OCTET STRING"),
    ],
)
def test_nonce_of_other_form_is_malformed(bad: bytes):
    """RFC 9654: anything but an OCTET STRING of 1 to 128 octets is malformedRequest."""
    with pytest.raises(MalformedRequest):
        parse_request(request(extensions=[bad]))


def test_unknown_extension_is_passed_over_unless_critical():
    """RFC 6960 4.1.2: an unknown critical extension, of the request or of one Request, refuses the request."""
    harmless = extension(UNKNOWN_OID, b"\x05\x00")
    critical = extension(UNKNOWN_OID, b"\x05\x00", critical=CRITICAL)
    single = der.tlv(0xA0, der.tlv(der.SEQUENCE, harmless))
    assert parse_request(request(extensions=[harmless], single=single)).nonce is None
    with pytest.raises(MalformedRequest, match="critical"):
        parse_request(request(extensions=[critical]))
    with pytest.raises(MalformedRequest, match="critical"):
        parse_request(request(single=der.tlv(0xA0, der.tlv(der.SEQUENCE, critical))))


def test_critical_nonce_is_known():
    """A critical extension that is implemented does not refuse the request."""
    assert parse_request(request(extensions=[nonce(b"n", critical=CRITICAL)])).nonce == b"n"


def test_acceptable_responses_without_basic_are_malformed():
    """RFC 6960 4.4.3: a client has to be able to take the basic response type."""
    oid = der.oid_octets("1.3.6.1.5.5.7.48.1.4")
    basic, other = der.oid_tlv("1.3.6.1.5.5.7.48.1.1"), der.oid_tlv("1.2.3.4")
    parse_request(request(extensions=[extension(oid, der.tlv(der.SEQUENCE, other, basic))]))
    with pytest.raises(MalformedRequest, match="basic"):
        parse_request(request(extensions=[extension(oid, der.tlv(der.SEQUENCE, other))]))


def test_cert_ids_up_to_the_limit_keep_their_order():
    """As many CertIDs as the limit allows are read in order; one more is malformed."""
    sent = [cert_id(serial=bytes((number,))) for number in range(1, 101)]
    assert [item.der for item in parse_request(request(*sent)).cert_ids] == sent
    with pytest.raises(MalformedRequest, match="100"):
        parse_request(request(*sent, cert_id()))


def test_requestor_name_and_signature_are_tolerated():
    """requestorName of any kind and a signature do not hinder reading."""
    name = der.tlv(0xA1, der.tlv(0x82, b"client.example"))
    signature = der.tlv(0xA0, der.tlv(der.SEQUENCE, digest_identifier("SHA-256"), der.tlv(der.BIT_STRING, b"\x00sig")))
    parsed = parse_request(request(front=name, signature=signature))
    assert parsed.has_requestor
    assert parsed.signature is not None
    assert parsed.signature.signature == b"sig"


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x30\x80\x00\x00", id="indefinite length"),
        pytest.param(request()[:-1], id="truncated"),
        pytest.param(request() + b"\x00", id="junk after the DER"),
        pytest.param(b"\x30\x81\x05" + request()[2:7], id="length that is not minimal"),
        pytest.param(der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE))), id="no CertID"),
        pytest.param(request(front=der.tlv(0xA0, der.integer_tlv(1))), id="version 2"),
        pytest.param(request(front=der.tlv(0xA1, der.tlv(der.NULL))), id="requestorName of a wrong tag"),
        pytest.param(request(cert_id(size=19)), id="hash of a wrong size"),
        pytest.param(request(cert_id(serial=b"")), id="serial without octets"),
        pytest.param(request(cert_id(serial=b"\x00\x05")), id="serial that is not minimal"),
        pytest.param(request(cert_id(serial=b"\x01" * 65)), id="serial of 65 octets"),
        pytest.param(request(extensions=[nonce(b"a"), nonce(b"b")]), id="two nonces"),
        pytest.param(request(extensions=[nonce(b"a", critical=b"\x01\x01\x01")]), id="BOOLEAN that is not DER"),
        pytest.param(request(signature=der.tlv(0xA1, b"")), id="element after tbsRequest"),
    ],
)
def test_request_that_breaks_the_syntax_is_malformed(bad: bytes):
    """Whatever is no OCSPRequest in DER is malformedRequest with a reason."""
    with pytest.raises(MalformedRequest, match="not an OCSPRequest"):
        parse_request(bad)


@given(st.binary(max_size=200), st.integers(0, 60), st.binary(max_size=4))
def test_request_of_any_bytes_is_read_or_malformed(junk: bytes, at: int, change: bytes):
    """No input makes the parser raise anything but MalformedRequest."""
    valid = request(extensions=[nonce(b"n" * 16)])
    for data in (junk, valid[:at] + change + valid[at + len(change) :]):
        try:
            parse_request(data)
        except MalformedRequest:
            continue

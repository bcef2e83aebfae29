"""What a certificate is asked for with: PKCS #10 requests and names from a command line."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.pki import NOW, name, new_key, shared_key, signing_hash

from vouchd.ca.ca_keys import KEY_TYPES, generate_key
from vouchd.ca.profiles import ProfileName
from vouchd.ca.requests import MAX_CSR_BYTES, parse_name, parse_subject, request_from_csr
from vouchd.cli.ca.status import parse_reason
from vouchd.errors import IssuanceError
from vouchd.pkix.reasons import NAMES, reason_text


def csr(key=None, *extensions, encoding=Encoding.PEM, subject="asked"):
    key = key or shared_key("EC", 5)
    builder = x509.CertificateSigningRequestBuilder().subject_name(name(subject))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, signing_hash(key)).public_bytes(encoding)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_request_from_csr_takes_key_subject_and_names(encoding):
    """Key, subject and subjectAltName come from the request, in PEM or DER."""
    names = x509.SubjectAlternativeName([x509.DNSName("a.example"), x509.DNSName("b.example")])
    request = request_from_csr(csr(None, names, encoding=encoding), ProfileName.SERVER)
    assert request.public_key == shared_key("EC", 5).public_key()
    assert request.subject == name("asked")
    assert request.names == tuple(names)


def test_request_from_csr_gives_way_to_what_the_operator_says():
    """Subject and names given by the operator replace the requester's."""
    request_der = csr(None, x509.SubjectAlternativeName([x509.DNSName("evil.example")]))
    said = (x509.DNSName("good.example"),)
    request = request_from_csr(request_der, ProfileName.SERVER, subject=name("said"), names=said)
    assert (request.subject, request.names) == (name("said"), said)


def test_request_from_csr_asking_to_be_a_ca_becomes_no_ca(manager):
    """Extensions that a requester wishes for beyond its names are not granted."""
    request_der = csr(None, x509.BasicConstraints(ca=True, path_length=None), x509.OCSPNoCheck())
    record = manager.issue(request_from_csr(request_der, ProfileName.USER), NOW)
    extensions = x509.load_der_x509_certificate(record.der).extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.OCSPNoCheck)


def test_request_from_csr_without_proof_of_possession_is_refused():
    """A request with a broken signature proves nothing: whoever sent it may not hold the key."""
    broken = bytearray(csr(new_key("Ed25519"), encoding=Encoding.DER))
    broken[-1] ^= 1
    with pytest.raises(IssuanceError, match="proof"):
        request_from_csr(bytes(broken), ProfileName.USER)


def test_request_from_csr_signed_by_another_key_is_refused():
    """The request's own key must have signed it."""
    mine, other = new_key("Ed25519"), new_key("Ed25519")
    request_der = csr(mine, encoding=Encoding.DER)
    request = x509.load_der_x509_csr(request_der)
    forged = request_der.replace(request.signature, other.sign(request.tbs_certrequest_bytes))
    assert len(forged) == len(request_der)
    with pytest.raises(IssuanceError, match="proof"):
        request_from_csr(forged, ProfileName.USER)


@pytest.mark.parametrize("junk", [b"", b"\x30\x00", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA", b"\x30" * 500])
def test_request_from_csr_junk_is_refused(junk):
    """What is no PKCS #10 request gets an error with a hint, not a traceback."""
    with pytest.raises(IssuanceError) as caught:
        request_from_csr(junk, ProfileName.USER)
    assert caught.value.hint


def test_request_from_csr_too_large_is_refused():
    """Input has a limit."""
    with pytest.raises(IssuanceError, match="bytes"):
        request_from_csr(b"\x30" * (MAX_CSR_BYTES + 1), ProfileName.USER)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_request_from_csr_of_each_key_type_is_issued(manager, key_type):
    """Every kind of key that can be made can be certified."""
    key = generate_key(key_type.lower())
    request = request_from_csr(csr(key), ProfileName.USER)
    record = manager.issue(request, NOW)
    assert x509.load_der_x509_certificate(record.der).public_key() == key.public_key()


@pytest.mark.parametrize(
    "text, kind", [("DNS:a.example", x509.DNSName), ("ip:::1", x509.IPAddress), ("email:a@b.example", x509.RFC822Name)]
)
def test_parse_name_of_each_kind(text, kind):
    """Alternative names are written KIND:VALUE."""
    assert isinstance(parse_name(text), kind)


@pytest.mark.parametrize(
    "text", ["a.example", "DNS:", "IP:300.1.1.1", "DNS:bücher.example", "tel:1", "DNS:" + "a" * 2000]
)
def test_parse_name_wrong_is_refused_with_hint(text):
    """A name that cannot be is refused with an example."""
    with pytest.raises(IssuanceError) as caught:
        parse_name(text)
    assert "DNS:" in caught.value.hint


@pytest.mark.parametrize("text", ["", "  ", "www.example.org", "CN", "XX=a", "CN=" + "a" * 2000, "/CN=a"])
def test_parse_subject_wrong_is_refused_with_hint(text):
    """A subject that cannot be is refused with an example."""
    with pytest.raises(IssuanceError) as caught:
        parse_subject(text)
    assert "RFC 4514" in caught.value.hint


def test_parse_subject_keeps_rfc_4514_order():
    """RFC 4514 writes the last RDN first."""
    assert [a.value for a in parse_subject("CN=a,O=b")] == ["b", "a"]


def test_parse_reason_takes_each_name_as_written_or_with_dashes():
    """Every reason is found by its standard name, whatever the capitals."""
    for reason, text in NAMES.items():
        assert parse_reason(text) is reason
        assert parse_reason(text.upper()) is reason
        assert reason_text(reason) == text
    assert parse_reason("key-compromise").name == "KEY_COMPROMISE"
    with pytest.raises(IssuanceError) as caught:
        parse_reason("bored")
    assert "keyCompromise" in caught.value.hint


def test_generate_key_of_unknown_type_is_refused():
    """The known kinds are listed."""
    with pytest.raises(IssuanceError) as caught:
        generate_key("RSA-512")
    assert "RSA-2048" in caught.value.hint

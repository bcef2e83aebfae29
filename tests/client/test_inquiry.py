"""Questions as another library reads them, and asking over HTTP."""

from __future__ import annotations

import base64
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from tests.client.answers import NONCE_OCTETS, SERIAL, HTTPRequest, always, answer, ask_for, error_answer, loopback
from tests.pki import CA, NOW, serial_octets, shared_key

from vouchd.client.inquiry import ask, new_nonce, question, responder_url, send, serial_of
from vouchd.client.response_acceptance import NonceRule, Terms
from vouchd.client.transport import Connection, Method
from vouchd.core.facts import CertStatus
from vouchd.errors import ClientError, OCSPResponseStatus


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA.create()


@pytest.mark.parametrize(("digest", "octets"), [("SHA-1", 20), ("SHA-256", 32), ("SHA-384", 48), ("SHA-512", 64)])
def test_request_is_read_by_another_library(ca, digest, octets) -> None:
    """Digest, hashes, serial and nonce stand where RFC 6960 section 4.1.1 puts them."""
    query = ask_for(ca, SERIAL, digest=digest, nonce=NONCE_OCTETS)
    request = ocsp.load_der_ocsp_request(query.request_der)
    name_hash = request.issuer_name_hash
    assert (request.serial_number, len(name_hash), len(request.issuer_key_hash)) == (SERIAL, octets, octets)
    assert request.hash_algorithm.digest_size == octets
    assert request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == NONCE_OCTETS


def test_request_equals_another_library_s(ca) -> None:
    """Without a nonce the request is the same bytes as cryptography makes, so caches share their entries."""
    certificate = ca.issue(serial=SERIAL).certificate
    theirs = ocsp.OCSPRequestBuilder().add_certificate(certificate, ca.certificate, hashes.SHA256()).build()
    assert ask_for(ca, SERIAL).request_der == theirs.public_bytes(Encoding.DER)


def test_nonce_has_32_octets_and_differs_each_time() -> None:
    """RFC 9654 section 2.1 asks a client for 32 octets, unpredictable."""
    nonces = {new_nonce() for _ in range(8)}
    assert len(nonces) == 8
    assert {len(nonce) for nonce in nonces} == {32}


def test_question_about_nothing_is_refused(ca) -> None:
    """A request without a CertID is of no use to anyone."""
    with pytest.raises(ClientError, match="nothing to ask for"):
        question(ca.der, [])


def test_serial_of_a_certificate_of_another_issuer_is_refused(ca) -> None:
    """A serial means nothing without its issuer, so a certificate is asked about only with the CA that issued it."""
    stranger = CA.create("Other", key=shared_key("EC", 5)).issue()
    with pytest.raises(ClientError, match="was not issued by"):
        serial_of(stranger.der, ca.der)
    mine = ca.issue(serial=SERIAL)
    assert serial_of(mine.der, ca.der) == serial_octets(SERIAL)


def test_responder_url_comes_from_authority_information_access(ca) -> None:
    """The URL is the first of access method id-ad-ocsp over HTTP; caIssuers is none (RFC 5280 section 4.2.2.1)."""
    oid = AuthorityInformationAccessOID

    def access(method: x509.ObjectIdentifier, url: str) -> x509.AccessDescription:
        return x509.AccessDescription(method, x509.UniformResourceIdentifier(url))

    aia = x509.AuthorityInformationAccess(
        [
            access(oid.CA_ISSUERS, "http://ca.test/ca.crt"),
            access(oid.OCSP, "ldap://ocsp.test/"),
            access(oid.OCSP, "http://ocsp.test/ocsp"),
        ]
    )
    assert responder_url(ca.issue(extensions=((aia, False),)).der) == "http://ocsp.test/ocsp"
    assert responder_url(ca.issue().der) is None


@pytest.mark.parametrize("method", [Method.GET, Method.POST])
def test_ask_sends_the_request_and_verifies_the_answer(ca, method) -> None:
    """GET carries the request as base64 in the path, POST in the body with its content type (RFC 6960 A.1)."""
    signer = ca.issue_signer()
    query = ask_for(ca, nonce=NONCE_OCTETS)
    with (
        loopback(always(answer(ca, signer, query=query, nonce=NONCE_OCTETS))) as server,
        Connection(server.url) as link,
    ):
        reply, verified = ask(link, query, at=NOW, method=method, terms=Terms(nonce=NonceRule.REQUIRE))
    assert verified.singles[0].status is CertStatus.GOOD
    assert reply.exchange.body == reply.response.der
    assert _request_in(server.requests[0]) == query.request_der


def _request_in(message: HTTPRequest) -> bytes:
    if message.method == "GET":
        return base64.b64decode(unquote(message.path.removeprefix("/ocsp/")), validate=True)
    assert message.headers["Content-Type"] == "application/ocsp-request"
    return message.body


def test_error_response_with_an_http_error_status_is_read(ca) -> None:
    """An OCSP error body is understood whatever HTTP status it comes with."""
    body = error_answer(ocsp.OCSPResponseStatus.TRY_LATER)
    with loopback(always(body, status=503)) as server, Connection(server.url) as link:
        reply = send(link, ask_for(ca))
    assert reply.response.status is OCSPResponseStatus.TRY_LATER


def test_web_page_instead_of_an_answer_is_named_as_such(ca) -> None:
    """A wrong URL is told by the HTTP status and content type that came instead."""
    with (
        loopback(always(b"<html>", status=404, content_type="text/html")) as server,
        Connection(server.url) as link,
        pytest.raises(ClientError, match="HTTP 404 with text/html") as caught,
    ):
        send(link, ask_for(ca))
    assert "URL" in caught.value.hint


def test_content_type_is_judged_without_parameters(ca) -> None:
    """application/ocsp-response is right with parameters and in capitals too; anything else is not."""
    body = answer(ca, ca)
    for content_type, right in (("Application/OCSP-Response; x=y", True), ("application/octet-stream", False)):
        with loopback(always(body, content_type=content_type)) as server, Connection(server.url) as link:
            assert send(link, ask_for(ca)).content_type_is_right is right

"""Ask an OCSP responder: build the request, send it, read the answer, verify it (RFC 6960, RFC 9654).

`ask` does all of it; the steps stand alone for those who want to see an answer that does not verify.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from vouchd.client.parsing import parse_response
from vouchd.client.response_acceptance import Terms, Verified, verify_response
from vouchd.client.response_facts import NONCE, CertID, OCSPResponse
from vouchd.client.transport import RESPONSE_TYPE, Connection, Exchange, Method
from vouchd.errors import ClientError, MalformedRequest
from vouchd.pkix import certs, der
from vouchd.pkix.ocsp import parse_request
from vouchd.pkix.signatures import digest_identifier

NONCE_OCTETS = 32  # RFC 9654 section 2.1: what a client sends


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: certificates of one issuer, and the nonce (None: none is sent); `request_der` as it is sent.

    `issuer` is None for a ready-made request whose CA the caller does not know; its answer cannot be verified.
    """

    issuer: x509.Certificate | None
    cert_ids: tuple[CertID, ...]
    nonce: bytes | None
    request_der: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back to a question, unverified; `exchange.body` is the DER of `response`."""

    question: Question
    exchange: Exchange
    response: OCSPResponse

    @property
    def content_type_is_right(self) -> bool:
        """Whether it was sent as application/ocsp-response; some clients refuse it otherwise."""
        return (self.exchange.header("Content-Type") or "").split(";")[0].strip().lower() == RESPONSE_TYPE

    def verify(self, at: int, terms: Terms | None = None) -> Verified:
        """Check all that a client relies upon at POSIX time `at`. Raises: ClientError, VerificationError."""
        question = self.question
        if question.issuer is None:
            raise ClientError("an answer cannot be verified without the CA's certificate", hint="name the issuer")
        return verify_response(
            self.response, question.issuer, question.cert_ids, nonce=question.nonce, at=at, terms=terms or Terms()
        )


def new_nonce() -> bytes:
    """A fresh nonce of 32 octets."""
    return secrets.token_bytes(NONCE_OCTETS)


def ask(
    connection: Connection, question: Question, *, at: int, method: Method = Method.AUTO, terms: Terms | None = None
) -> tuple[Reply, Verified]:
    """Ask and verify at POSIX time `at`.

    Raises: ClientError when there is no answer or an error status, VerificationError when it is not to be relied upon.
    """
    reply = send(connection, question, method)
    return reply, reply.verify(at, terms)


def send(connection: Connection, question: Question, method: Method = Method.AUTO) -> Reply:
    """Ask, and read what comes back. Raises: ClientError when it is no OCSP response."""
    exchange = connection.exchange(question.request_der, method)
    return Reply(question, exchange, read(exchange))


def read(exchange: Exchange) -> OCSPResponse:
    """The OCSP response in an HTTP answer, whatever its HTTP status. Raises: ClientError when there is none."""
    try:
        return parse_response(exchange.body)
    except ClientError as error:
        kind = exchange.header("Content-Type") or "no content type"
        raise ClientError(
            f"the answer is HTTP {exchange.http_status} with {kind}: {error}",
            hint="is this the URL of an OCSP responder?",
        ) from error


def question(
    issuer_der: bytes, serials: Sequence[bytes], *, digest: str = "SHA-256", nonce: bytes | None = None
) -> Question:
    """The question for `serials` (DER INTEGER content octets) of the CA in `issuer_der`.

    `digest` is a name of core.signatures.DIGESTS; `nonce` is 1 to 128 octets, see `new_nonce`.

    Raises: ClientError when the issuer cannot be read or nothing is asked for.
    """
    issuer = _certificate(issuer_der, "the issuer")
    if not serials:
        raise ClientError("nothing to ask for", hint="name a certificate or a serial number")
    name_hash, key_hash = certs.issuer_hashes(issuer, digest)
    cert_ids = tuple(CertID(digest, name_hash, key_hash, serial) for serial in serials)
    return Question(issuer, cert_ids, nonce, build_request([encode_cert_id(one) for one in cert_ids], nonce))


def question_from_request(request_der: bytes, issuer_der: bytes | None) -> Question:
    """The question in a ready-made request, for the CA in `issuer_der` where it is known.

    Raises: ClientError when it is no OCSP request, or asks about certificates of another CA.
    """
    try:
        request = parse_request(request_der)
    except MalformedRequest as error:
        raise ClientError(str(error)) from error
    issuer = None if issuer_der is None else _certificate(issuer_der, "the issuer")
    cert_ids = []
    for cert_id in request.cert_ids:
        if issuer is not None and not _is_of(cert_id.digest, cert_id.issuer, issuer):
            raise ClientError("the request asks about a certificate of another CA", hint="name the CA of the request")
        half = len(cert_id.issuer) // 2
        cert_ids.append(CertID(cert_id.digest or "", cert_id.issuer[:half], cert_id.issuer[half:], cert_id.serial))
    return Question(issuer, tuple(cert_ids), request.nonce, request_der)


def build_request(cert_id_ders: Sequence[bytes], nonce: bytes | None = None) -> bytes:
    """DER of an unsigned OCSPRequest (RFC 6960 section 4.1.1) for CertIDs in DER."""
    requests = der.tlv(der.SEQUENCE, *(der.tlv(der.SEQUENCE, cert_id) for cert_id in cert_id_ders))
    extensions = b""
    if nonce is not None:
        value = der.tlv(der.OCTET_STRING, der.tlv(der.OCTET_STRING, nonce))
        extensions = der.tlv(0xA2, der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, der.oid_tlv(NONCE), value)))
    return der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, requests, extensions))


def encode_cert_id(cert_id: CertID) -> bytes:
    """DER of a CertID, the digest with NULL parameters as most clients write it."""
    return der.tlv(
        der.SEQUENCE,
        digest_identifier(cert_id.digest),
        der.tlv(der.OCTET_STRING, cert_id.issuer_name_hash),
        der.tlv(der.OCTET_STRING, cert_id.issuer_key_hash),
        der.tlv(der.INTEGER, cert_id.serial),
    )


def serial_of(certificate_der: bytes, issuer_der: bytes) -> bytes:
    """The serial of a certificate (DER INTEGER content octets).

    Raises: ClientError when it cannot be read, or was not issued by the CA in `issuer_der`.
    """
    certificate, issuer = _certificate(certificate_der, "the certificate"), _certificate(issuer_der, "the issuer")
    if not certs.is_issued_by(certificate, issuer):
        name, ca = certificate.subject.rfc4514_string(), issuer.subject.rfc4514_string()
        raise ClientError(f"{name!r} was not issued by {ca!r}", hint="name the CA that issued it, not the root")
    return certs.serial_octets(certificate)


def responder_url(certificate_der: bytes) -> str | None:
    """The OCSP URL that the certificate's authority information access names first, None when there is none.

    Raises: ClientError when the certificate cannot be read.
    """
    certificate = _certificate(certificate_der, "the certificate")
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    locations = (
        one.access_location.value
        for one in access
        if one.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    )
    return next((url for url in locations if url.lower().startswith(("http://", "https://"))), None)


def _is_of(digest: str | None, hashes: bytes, issuer: x509.Certificate) -> bool:
    return digest is not None and b"".join(certs.issuer_hashes(issuer, digest)) == hashes


def _certificate(certificate_der: bytes, what: str) -> x509.Certificate:
    try:
        return certs.load_certificate(certificate_der)
    except ValueError as error:
        raise ClientError(f"{what} cannot be read: {error}") from error

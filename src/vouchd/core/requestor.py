"""Who signed a request, and whether that is a requestor we trust (RFC 6960 section 4.1.2)."""

from __future__ import annotations

from cryptography import x509

from vouchd.errors import MalformedRequest, Unauthorized
from vouchd.pkix import certs
from vouchd.pkix.ocsp import OCSPRequest, RequestSignature
from vouchd.pkix.signatures import verify


def verify_requestor(request: OCSPRequest, trust: tuple[bytes, ...], at: int) -> None:
    """Check the signature of a signed request against the trusted requestors, and CAs of requestors, in `trust` (DER).

    Raises: MalformedRequest when a signed request names no requestor; Unauthorized when the signature is wrong or by
    somebody who is not trusted.
    """
    if not request.has_requestor:
        raise MalformedRequest("a signed request without requestorName (RFC 6960 section 4.1.2)")
    if request.signature is None:
        raise Unauthorized("the request is not signed")
    requestor = _signed_by(request.signature, trust)
    if not certs.not_before(requestor) <= at <= certs.not_after(requestor):
        raise Unauthorized("the requestor's certificate is not valid now")


def _signed_by(signature: RequestSignature, trust: tuple[bytes, ...]) -> x509.Certificate:
    """The trusted certificate that the signature verifies with: one sent along, or one of the trust list."""
    trusted = [certs.load_certificate(item) for item in trust]
    for candidate in [*_sent(signature), *trusted]:
        if not any(candidate == anchor or certs.is_issued_by(candidate, anchor) for anchor in trusted):
            continue
        try:
            verify(candidate.public_key(), signature.identifier_der, signature.signature, signature.tbs_der)
        except ValueError:
            continue
        return candidate
    raise Unauthorized("the request is not signed by a trusted requestor")


def _sent(signature: RequestSignature) -> list[x509.Certificate]:
    try:
        return [certs.load_certificate(item) for item in signature.certs_der]
    except ValueError as exc:
        raise MalformedRequest("a certificate in the request's signature is unreadable") from exc

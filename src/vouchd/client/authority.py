"""Who signed an OCSP response, and by what right (RFC 6960 section 4.2.2.2).

Not checked, and said as a warning: whether the delegated signer's own certificate is revoked (section 4.2.2.2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from cryptography import x509

from vouchd.client.response_facts import BasicResponse
from vouchd.errors import VerificationError
from vouchd.pkix import certs
from vouchd.pkix.signatures import verify


class SignerRole(StrEnum):
    """By what right the signer speaks for the CA (RFC 6960 section 4.2.2.2)."""

    ISSUER = "the CA itself"
    DELEGATED = "delegated by the CA"
    TRUSTED = "trusted by the caller"


def find_signer(
    basic: BasicResponse, issuer: x509.Certificate, trusted: Sequence[bytes], at: int
) -> tuple[x509.Certificate, SignerRole]:
    """The certificate that the responder ID names, authorised at `at` and with a signature that verifies.

    Raises: VerificationError.
    """
    candidates = [
        certificate
        for certificate in (issuer, *_certificates(trusted), *_certificates(basic.certificates))
        if _is_responder(basic, certificate)
    ]
    if not candidates:
        raise VerificationError(
            f"the certificate of the responder that the answer names ({responder_text(basic)}) is not there",
            hint="it is neither the CA, nor sent along, nor given as trusted",
        )
    first: VerificationError | None = None
    for certificate in candidates:
        try:
            role = _authority(certificate, issuer, trusted, at)
            _check_signature(basic, certificate)
        except VerificationError as error:
            first = first or error
        else:
            return certificate, role
    raise first or VerificationError("no signer")


def _certificates(ders: Sequence[bytes]) -> list[x509.Certificate]:
    try:
        return [certs.load_certificate(der) for der in ders]
    except ValueError as error:
        raise VerificationError("the answer carries a certificate that cannot be read") from error


def _is_responder(basic: BasicResponse, certificate: x509.Certificate) -> bool:
    if basic.responder_key_hash is not None:
        return basic.responder_key_hash == certs.key_hash(certificate)
    return basic.responder_name_der == certs.subject_der(certificate)


def responder_text(basic: BasicResponse) -> str:
    """The responder ID for people: `key HEX`, or the name."""
    if basic.responder_name_der is None:
        return f"key {(basic.responder_key_hash or b'').hex()}"
    try:
        return x509.Name.from_bytes(basic.responder_name_der).rfc4514_string()
    except ValueError:
        return f"name {basic.responder_name_der.hex()}"


def _authority(
    certificate: x509.Certificate, issuer: x509.Certificate, trusted: Sequence[bytes], at: int
) -> SignerRole:
    """By what right this certificate signs (RFC 6960 section 4.2.2.2). Raises: VerificationError when by none."""
    if at < certs.not_before(certificate) or at > certs.not_after(certificate):
        raise VerificationError(
            f"the signer's certificate is outside its validity: {_name(certificate)}",
            hint="the responder needs a current one",
        )
    if _identity(certificate) == _identity(issuer):
        return SignerRole.ISSUER
    if any(certificate == one for one in _certificates(trusted)):
        return SignerRole.TRUSTED
    if not certs.is_issued_by(certificate, issuer):
        raise VerificationError(
            f"the signer was not issued by the CA itself: {_name(certificate)}",
            hint="a delegated signer is issued by the CA it answers for; one of your own trust has to be named",
        )
    if not certs.has_ocsp_signing(certificate):
        raise VerificationError(
            f"the signer's certificate is not for OCSP signing: {_name(certificate)}",
            hint="extendedKeyUsage lacks id-kp-OCSPSigning, so any certificate of the CA could have signed this",
        )
    if not _may_sign(certificate):
        raise VerificationError(f"the signer's certificate is not for digital signatures: {_name(certificate)}")
    return SignerRole.DELEGATED


def _identity(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    return certs.subject_der(certificate), certs.public_key_bits(certificate)


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()


def _may_sign(certificate: x509.Certificate) -> bool:
    """Whether keyUsage, where there is one, allows signatures (RFC 5280 section 4.2.1.3)."""
    try:
        usage = certs.extension(certificate, x509.KeyUsage)
    except ValueError:
        return True
    return usage is None or usage.digital_signature or usage.content_commitment


def _check_signature(basic: BasicResponse, certificate: x509.Certificate) -> None:
    try:
        verify(certs.public_key(certificate), basic.algorithm_der, basic.signature, basic.response_data_der)
    except ValueError as error:
        raise VerificationError(
            f"the signature of the answer does not verify: {error}",
            hint="it was changed on its way, or made with another key than its certificate's",
        ) from error


def signer_warnings(basic: BasicResponse, signer: x509.Certificate, role: SignerRole) -> list[str]:
    """What is doubtful about the signature but no reason to refuse it."""
    warnings = []
    if role is SignerRole.DELEGATED and not certs.has_nocheck(signer):
        warnings.append("the signer's certificate has no id-pkix-ocsp-nocheck; its own status was not checked")
    if basic.algorithm.startswith("SHA1"):
        warnings.append(f"the answer is signed with {basic.algorithm}, which can be forged")
    return warnings

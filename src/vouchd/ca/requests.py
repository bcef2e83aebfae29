"""What a certificate is asked for with: read from a PKCS #10 request or given by name and key."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from vouchd.ca.profiles import ProfileName
from vouchd.errors import IssuanceError

MAX_CSR_BYTES = 64 * 1024
MAX_NAMES = 100
MAX_SUBJECT_CHARS = 1024


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """One certificate that is wanted; `validity_seconds` None: as the profile says, cut at the CA's own end."""

    subject: x509.Name
    public_key: CertificatePublicKeyTypes
    profile: ProfileName
    names: tuple[x509.GeneralName, ...] = ()
    validity_seconds: int | None = None
    path_length: int | None = None  # of profile `ca`: how many CAs may stand below


def request_from_csr(
    csr: bytes,
    profile: ProfileName,
    *,
    subject: x509.Name | None = None,
    names: tuple[x509.GeneralName, ...] = (),
    validity_seconds: int | None = None,
) -> CertificateRequest:
    """The request in a PKCS #10 `csr` (PEM or DER, at most 64 KiB) after its proof of possession was checked.

    Only its key, its subject and its subjectAltName are taken, and these give way to `subject` and `names`: what a
    certificate may be used for is the profile's to say.

    Raises: IssuanceError.
    """
    if len(csr) > MAX_CSR_BYTES:
        raise IssuanceError(f"certificate request of {len(csr)} bytes", hint=f"at most {MAX_CSR_BYTES} are read")
    try:
        pem = csr.lstrip().startswith(b"-----")
        request = x509.load_pem_x509_csr(csr) if pem else x509.load_der_x509_csr(csr)
        possession = request.is_signature_valid
        public_key = request.public_key()
        requested = _asked_names(request)
        asked_subject = request.subject
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IssuanceError(f"not a usable certificate request: {error}", hint="PKCS #10 in PEM or DER") from error
    if not possession:
        raise IssuanceError(
            "the certificate request's signature is wrong: no proof that the requester holds the private key",
            hint="make the request again with the key it is for",
        )
    return CertificateRequest(
        subject if subject is not None else asked_subject,
        public_key,
        profile,
        names or requested,
        validity_seconds,
    )


def _asked_names(request: x509.CertificateSigningRequest) -> tuple[x509.GeneralName, ...]:
    try:
        return tuple(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()


def parse_subject(text: str) -> x509.Name:
    """The name written as in RFC 4514, such as `CN=www.example.org,O=Example`. Raises: IssuanceError."""
    hint = "write it like 'CN=www.example.org,O=Example' (RFC 4514)"
    if not text.strip() or len(text) > MAX_SUBJECT_CHARS:
        raise IssuanceError("a subject is empty or too long", hint=hint)
    try:
        name = x509.Name.from_rfc4514_string(text)
    except ValueError as error:
        raise IssuanceError(f"subject {text!r}: {error or 'not a name'}", hint=hint) from error
    if not name.rdns:
        raise IssuanceError(f"subject {text!r}: no attribute in it", hint=hint)
    return name


def parse_name(text: str) -> x509.GeneralName:
    """A subjectAltName written as `DNS:host`, `IP:address`, `email:address` or `URI:uri`. Raises: IssuanceError."""
    kind, separator, value = text.partition(":")
    hint = "write it like DNS:www.example.org, IP:192.0.2.7, email:a@example.org or URI:https://example.org/"
    if not separator or not value or len(value) > MAX_SUBJECT_CHARS:
        raise IssuanceError(f"alternative name {text[:80]!r}", hint=hint)
    try:
        match kind.lower():
            case "dns":
                return x509.DNSName(value)
            case "ip":
                return x509.IPAddress(ipaddress.ip_address(value))
            case "email":
                return x509.RFC822Name(value)
            case "uri":
                return x509.UniformResourceIdentifier(value)
    except ValueError as error:
        raise IssuanceError(f"alternative name {text[:80]!r}: {error}", hint=hint) from error
    raise IssuanceError(f"alternative name {text[:80]!r}: unknown kind {kind[:20]!r}", hint=hint)

"""Certificates as CAs hand them out: one or a chain, in PEM with either header, DER, bare base64 or PKCS #7."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from vouchd.pkix import pem
from vouchd.pkix.certs import is_issued_by, load_certificate
from vouchd.core.ports import Buffer

MAX_BUNDLE_BYTES = 1 << 20
MAX_CERTIFICATES = 100
_PKCS7_LABELS = ("PKCS7", "CMS", "PKCS #7 SIGNED DATA", "CERTIFICATE CHAIN")


def read_bundle(data: Buffer) -> tuple[x509.Certificate, ...]:
    """The certificates in `data` (at most 1 MiB), each once, in the order they stand there; at least one.

    Raises: ValueError that says what is wrong.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise ValueError(f"more than {MAX_BUNDLE_BYTES} bytes")
    found = [certificate for part in _parts(bytes(data)) for certificate in _certificates(part)]
    unique = tuple({certificate.tbs_certificate_bytes: certificate for certificate in found}.values())
    if not 0 < len(unique) <= MAX_CERTIFICATES:
        raise ValueError(f"{len(unique) or 'no'} certificates where 1 to {MAX_CERTIFICATES} are expected")
    return unique


def leaf(certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """The one certificate of a chain that issued no other one of it. Raises: ValueError."""
    leaves = [
        one for one in certificates if not any(is_issued_by(other, one) for other in certificates if other is not one)
    ]
    if len(leaves) != 1:
        raise ValueError(f"{len(certificates)} certificates that are no chain")
    return leaves[0]


def _parts(data: bytes) -> list[bytes]:
    """DER of each object in `data`: a certificate or a PKCS #7 SignedData."""
    if b"-----BEGIN " in data:
        return list(pem.blocks(data, (*pem.CERTIFICATE_LABELS, *_PKCS7_LABELS)))
    return [bytes(pem.single(data, pem.CERTIFICATE_LABELS))]


def _certificates(part: bytes) -> list[x509.Certificate]:
    """Which of the two it is shows when it is read; the labels of PEM are not to be relied on."""
    try:
        return [load_certificate(part)]
    except ValueError:
        pass
    try:
        return load_der_pkcs7_certificates(part)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise ValueError("neither an X.509 certificate nor a PKCS #7 chain of them") from error

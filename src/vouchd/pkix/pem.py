"""Certificates and CRLs as people and CAs send them: DER, PEM with any of its headers, or bare base64.

A CA of the Certificate System writes `CERTIFICATE REVOCATION LIST` where RFC 7468 has `X509 CRL`; both are read.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from vouchd.pkix.certs import is_issued_by, load_certificate
from vouchd.pkix.der import Buffer

CRL_LABELS = ("X509 CRL", "CERTIFICATE REVOCATION LIST")
CERTIFICATE_LABELS = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")

_SEQUENCE = b"\x30"
_BEGIN, _DASHES, _LABEL_BYTES = b"-----BEGIN ", b"-----", 64
_BLANKS = b" \t\r\n"


def blocks(data: Buffer, labels: tuple[str, ...]) -> Iterator[bytes]:
    """DER of each PEM block with one of `labels`, in order; other text and blocks are passed over.

    Raises: ValueError at a block that has no end or is not base64.
    """
    wanted = {label.encode() for label in labels}
    for label, body in _all_blocks(bytes(data)):
        if label in wanted:
            yield _decoded(body)


def single(data: Buffer, labels: tuple[str, ...]) -> Buffer:
    """The one object in `data`: DER comes back as it is, uncopied; PEM and bare base64 are decoded.

    Raises: ValueError when there is none, or more than one.
    """
    if data[:1] == _SEQUENCE:
        return data
    text = bytes(data)
    if _BEGIN not in text:
        decoded = _decoded(text)
        if decoded[:1] != _SEQUENCE:
            raise ValueError("neither DER nor PEM nor base64")
        return decoded
    objects = list(blocks(text, labels))
    if len(objects) != 1:
        raise ValueError(f"{len(objects)} PEM blocks labelled {' or '.join(labels)} where one is expected")
    return objects[0]


def as_pem(certificate_der: bytes) -> str:
    """A certificate as PEM (RFC 7468)."""
    body = base64.b64encode(certificate_der).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def _all_blocks(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = text.find(_BEGIN)
    while start >= 0:
        start += len(_BEGIN)
        label_end = text.find(_DASHES, start, start + _LABEL_BYTES)
        label = text[start:label_end]
        end = text.find(b"-----END " + label + _DASHES, label_end) if label_end >= 0 else -1
        if end < 0:
            raise ValueError("a PEM block without its end")
        yield label, text[label_end + len(_DASHES) : end]
        start = text.find(_BEGIN, end)


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text.translate(None, _BLANKS), validate=True)
    except ValueError as error:
        raise ValueError("base64 that is damaged") from error


# Certificates as CAs hand them out: one or a chain, in PEM with either header, DER, bare base64 or PKCS #7.

MAX_BUNDLE_BYTES = 1 << 20
MAX_CERTIFICATES = 100
_PKCS7_LABELS = ("PKCS7", "CMS", "PKCS #7 SIGNED DATA", "CERTIFICATE CHAIN")


def read_bundle(data: Buffer) -> tuple[x509.Certificate, ...]:
    """The certificates in `data` (at most 1 MiB), each once, in the order they stand there; at least one.

    Raises: ValueError that says what is wrong.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise ValueError(f"more than {MAX_BUNDLE_BYTES} bytes")
    certificates = [certificate for part in _parts(bytes(data)) for certificate in _certificates(part)]
    unique = tuple({certificate.tbs_certificate_bytes: certificate for certificate in certificates}.values())
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
        return list(blocks(data, (*CERTIFICATE_LABELS, *_PKCS7_LABELS)))
    return [bytes(single(data, CERTIFICATE_LABELS))]


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

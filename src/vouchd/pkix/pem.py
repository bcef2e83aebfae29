"""Certificates and CRLs as people and CAs send them: DER, PEM with any of its headers, or bare base64.

A CA of the Certificate System writes `CERTIFICATE REVOCATION LIST` where RFC 7468 has `X509 CRL`; both are read.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from vouchd.core.ports import Buffer

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
    found = list(blocks(text, labels))
    if len(found) != 1:
        raise ValueError(f"{len(found)} PEM blocks labelled {' or '.join(labels)} where one is expected")
    return found[0]


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

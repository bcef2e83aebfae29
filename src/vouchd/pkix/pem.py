"""Certificates and CRLs as people and CAs send them: DER, PEM with any of its headers, or bare base64.

A CA of the Certificate System writes `CERTIFICATE REVOCATION LIST` where RFC 7468 has `X509 CRL`; both are read.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from vouchd.pkix.certs import is_issued_by, load_certificate, name_text
from vouchd.pkix.der import SEQUENCE, Buffer, read_tlv
from vouchd.pkix.textual import (
    PIECE_OCTETS,
    Base64Decoder,
    BlockSplitter,
    Memory,
    ObjectReader,
    ObjectSource,
    Part,
    Storage,
    base64_octets,
)

CRL_LABELS = ("X509 CRL", "CERTIFICATE REVOCATION LIST")
PLAIN_LABEL = "CERTIFICATE"
CERTIFICATE_LABELS = (PLAIN_LABEL, "X509 CERTIFICATE", "TRUSTED CERTIFICATE")

_SEQUENCE = b"\x30"
_BEGIN = b"-----BEGIN "
# A block by itself as every tool writes it: what a splitter and a decoder of pieces make of it takes them ten times as
# long, and of ten thousand signers that is half a second.
_ALONE = re.compile(
    rb"-----BEGIN ([A-Z0-9 #]{1,50})-----\r?\n([A-Za-z0-9+/\r\n]+={0,2})\r?\n-----END \1-----(?:\r?\n)?"
)


def blocks(data: Buffer, wanted_labels: tuple[str, ...]) -> Iterator[bytes]:
    """DER of each PEM block with one of these labels, in order; other text and blocks are passed over.

    Raises: ValueError at a block that has no end or is not base64.
    """
    alone = _ALONE.fullmatch(data)
    if alone is not None:
        label, text = alone.groups()
        text = text.translate(None, b"\r\n")
        if len(text) % 4 == 0:
            return iter((base64_octets(text),) if label.decode() in wanted_labels else ())
    return map(bytes, stored_blocks(data, wanted_labels, Memory))


def stored_blocks(data: Buffer, wanted_labels: tuple[str, ...], storage: Callable[[], Storage]) -> Iterator[Buffer]:
    """The same where `data` may be large: each is decoded into a storage of its own. Raises: also what that does."""
    wanted = {label.encode() for label in wanted_labels}
    for part in _parts_of_blocks(data):
        if part.label not in wanted:
            continue
        if part.begins:
            stored = storage()
            decoder = Base64Decoder(stored.write)
        decoder.add(part.text)
        if part.ends:
            decoder.close()
            yield stored.view()


def labels(text: bytes) -> set[str]:
    """The labels of the PEM blocks in `text`. Raises: ValueError at a block that has no end."""
    return {part.label.decode("ascii", "replace") for part in _parts_of_blocks(text) if part.label is not None}


def single(data: ObjectSource, wanted_labels: tuple[str, ...], storage: Callable[[], Storage] = Memory) -> Buffer:
    """The one object in `data`: DER comes back as it is, uncopied; PEM and bare base64 are decoded into `storage`.

    What a reader of such an object has taken in comes back as well. Raises: ValueError when there is none, or more than
    one.
    """
    if isinstance(data, ObjectReader):
        return data.object()
    if data[:1] == _SEQUENCE:
        return data
    reader = ObjectReader(wanted_labels, storage())
    for piece in _pieces(data):
        reader.add(piece)
    return reader.object()


def as_pem(certificate_der: bytes) -> str:
    """A certificate as PEM (RFC 7468)."""
    body = base64.b64encode(certificate_der).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def _parts_of_blocks(data: Buffer) -> Iterator[Part]:
    splitter = BlockSplitter()
    for piece in _pieces(data):
        yield from splitter.add(piece)
    yield from splitter.close()


def _pieces(data: Buffer) -> Iterator[bytes]:
    for begin in range(0, len(data), PIECE_OCTETS):
        yield bytes(data[begin : begin + PIECE_OCTETS])


# THE reader of certificates as CAs and people hand them out: one or a bundle, in PEM with any of its headers, DER, bare
# base64, PKCS #7, or with the trust settings that `openssl x509 -trustout` writes behind a certificate.

MAX_BUNDLE_BYTES = 1 << 20
MAX_CERTIFICATES = 100
_PKCS7_LABELS = ("PKCS7", "CMS", "PKCS #7 SIGNED DATA", "CERTIFICATE CHAIN")
_LABELS = (*CERTIFICATE_LABELS, *_PKCS7_LABELS)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The certificates that came, each once, in their order, at least one; and what was left out, one line each."""

    certificates: tuple[x509.Certificate, ...]
    notes: tuple[str, ...] = ()


def read_bundle(data: Buffer, most: int = MAX_CERTIFICATES) -> Bundle:
    """The certificates in `data` (at most 1 MiB), no more than `most`. Raises: ValueError that says what is wrong."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise ValueError(f"more than {MAX_BUNDLE_BYTES} bytes")
    every = [one for part in _parts(bytes(data)) for one in _certificates(part)]
    certificates = _unique([certificate for certificate, _ in every])
    if not 0 < len(certificates) <= most:
        words = f"{len(certificates) or 'no'} certificates where 1 to {most} are expected"
        raise ValueError(f"{words}{_instead(data, certificates)}")
    return Bundle(certificates, tuple(dict.fromkeys(note for _, note in every if note)))


def _unique(certificates: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Each certificate once, by what is signed."""
    if len(certificates) < 2:
        return tuple(certificates)
    unique: dict[bytes, x509.Certificate] = {}
    for certificate in certificates:
        unique.setdefault(certificate.tbs_certificate_bytes, certificate)
    return tuple(unique.values())


def read_one(data: Buffer) -> Bundle:
    """A bundle of the one certificate in `data`. Raises: ValueError, naming those there are when it is not one."""
    bundle = read_bundle(data)
    if len(bundle.certificates) != 1:
        names = "; ".join(map(name_text, bundle.certificates))
        raise ValueError(f"{len(bundle.certificates)} certificates where one is expected: {names}")
    return bundle


def read_leaf(data: Buffer) -> x509.Certificate:
    """The certificate in `data`, of a chain the one that issued none of the others. Raises: ValueError."""
    return leaf(read_bundle(data).certificates)


def each_certificate(text: bytes) -> Iterator[x509.Certificate]:
    """The certificates of a PEM text, one after the other, however many there are. Raises: ValueError."""
    for part in blocks(text, _LABELS):
        for certificate, _ in _certificates(part):
            yield certificate


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
    if _BEGIN in data:
        return list(blocks(data, _LABELS))
    return [bytes(single(data, CERTIFICATE_LABELS))]


def _instead(data: Buffer, certificates: object) -> str:
    """What a PEM text without certificates holds in their place."""
    if certificates or _BEGIN not in bytes(data):
        return ""
    return f"; it holds {', '.join(sorted(labels(bytes(data))))}"


def _certificates(part: bytes) -> Iterator[tuple[x509.Certificate, str]]:
    """The certificates of one object, with what was left out; which kind it is shows when it is read.

    The labels of PEM are not to be relied on.
    """
    end = _end(part)
    try:
        certificate = load_certificate(part[:end])
    except ValueError:
        yield from ((one, "") for one in _pkcs7(part))
        return
    if not part[end:]:
        yield certificate, ""
    elif part[end] == SEQUENCE and end + _end(part[end:]) == len(part):
        yield certificate, f"the trust settings beside {name_text(certificate)} were left out"
    else:
        raise ValueError("a certificate with other bytes behind it")


def _end(part: bytes) -> int:
    """Where the first element of `part` ends, or its own end where that does not show."""
    try:
        return read_tlv(part, 0, len(part)).end
    except ValueError:
        return len(part)


def _pkcs7(part: bytes) -> list[x509.Certificate]:
    # Here, because it brings the readers of mail along, two megabytes of a process that reads no such file.
    from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates  # noqa: PLC0415

    try:
        return load_der_pkcs7_certificates(part)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise ValueError("neither an X.509 certificate nor a PKCS #7 chain of them") from error

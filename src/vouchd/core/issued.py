"""The serials that a CA has issued: lists as operators have them, and the one document that is kept of them.

The document is text: the content octets of each serial's DER INTEGER in hexadecimal, one a line, sorted, each once. So
one set of serials is one document with one SHA-256, wherever it was made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from vouchd.pkix import certs, pem
from vouchd.pkix.der import Buffer

MAX_SERIAL_OCTETS = 64

_DECIMAL = re.compile(rb"[0-9]+")
_HEXADECIMAL = re.compile(rb"(?:0x)?([0-9a-f]+)|([0-9a-f]{2}(?::[0-9a-f]{2})+)")
_MARKED = re.compile(rb"0x.*|.*:.*")


def issued_serials(data: Buffer, radix: int = 10) -> Iterator[bytes]:
    """DER INTEGER content octets of the serials in `data`: PEM certificates, or a text with one serial a line.

    `0x1f` and `1f:2a` are hexadecimal; other numbers have the `radix`, 10 or 16. What follows `#` is a remark.

    Raises: ValueError with the number of the line.
    """
    text = bytes(data)
    if b"-----BEGIN " in text:
        yield from map(certs.serial_octets, pem.each_certificate(text))
        return
    for number, line in enumerate(text.splitlines(), 1):
        serial = line.partition(b"#")[0].strip().lower()
        if serial:
            try:
                yield _octets(serial, radix)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None


def document(serials: Iterable[bytes]) -> bytes:
    """The document of these serials; repeated ones count once."""
    return b"".join(serial.hex().encode() + b"\n" for serial in sorted(set(serials)))


def document_serials(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The serials of a document that is given in pieces. Raises: ValueError when it is damaged."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (bytes.fromhex(line.decode("ascii")) for line in lines)
    if rest:
        raise ValueError("a list of issued serials that was cut short")


def index_name(sha256: str) -> str:
    """File name of the index of the document with that SHA-256 (hex)."""
    return f"{sha256[:40]}.ser"


def _octets(text: bytes, radix: int) -> bytes:
    if radix == 16 or _MARKED.fullmatch(text):
        match = _HEXADECIMAL.fullmatch(text)
        if not match:
            raise ValueError("not a hexadecimal number")
        value = int((match[1] or match[2]).replace(b":", b""), 16)
    elif _DECIMAL.fullmatch(text) and len(text) <= 3 * MAX_SERIAL_OCTETS:
        value = int(text)
    else:
        raise ValueError("not a decimal number; write 0x before a hexadecimal one")
    octets = value.to_bytes(value.bit_length() // 8 + 1, "big")
    if len(octets) > MAX_SERIAL_OCTETS:
        raise ValueError(f"a serial of more than {MAX_SERIAL_OCTETS} octets")
    return octets

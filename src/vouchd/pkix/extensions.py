"""Extensions of RFC 5280 section 4.1.2.9 as they stand in CRLs and CRL entries: read strictly, kept raw."""

from __future__ import annotations

from typing import NamedTuple

from vouchd.pkix import der
from vouchd.pkix.der import Buffer

MAX_EXTENSIONS = 64
MAX_EXTENSION_BYTES = 1 << 20


class Extension(NamedTuple):
    """One extension: `oid` is the content octets of extnID, `value` those of extnValue, `der` the whole."""

    oid: bytes
    critical: bool
    value: bytes
    der: bytes


def read_extensions(data: Buffer, parent: der.TLV) -> tuple[Extension, ...]:
    """The members of SEQUENCE OF Extension, in order.

    Raises: ValueError when they are malformed, none at all, more than 64, or one occurs twice.
    """
    if parent.end - parent.start > MAX_EXTENSION_BYTES:
        raise ValueError(f"extensions larger than {MAX_EXTENSION_BYTES} bytes")
    by_oid: dict[bytes, Extension] = {}
    for child in der.children(data, parent):
        extension = _read(data, child)
        if extension.oid in by_oid:
            raise ValueError(f"extension {der.dotted(extension.oid)} occurs twice")
        by_oid[extension.oid] = extension
        if len(by_oid) > MAX_EXTENSIONS:
            raise ValueError(f"more than {MAX_EXTENSIONS} extensions")
    if not by_oid:
        raise ValueError("an empty list of extensions")
    return tuple(by_oid.values())


def _read(data: Buffer, tlv: der.TLV) -> Extension:
    if tlv.tag != der.SEQUENCE:
        raise ValueError("extension that is no SEQUENCE")
    parts = list(der.children(data, tlv))
    critical = False
    if len(parts) == 3 and parts[1].tag == der.BOOLEAN:
        critical = der.boolean(data, parts.pop(1))  # an explicit FALSE is met in practice and harmless
    if [part.tag for part in parts] != [der.OID, der.OCTET_STRING]:
        raise ValueError("extension without extnID and extnValue")
    return Extension(der.oid(data, parts[0]), critical, der.content(data, parts[1]), der.element(data, tlv))

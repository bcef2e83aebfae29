"""Names: whether two mean the same (RFC 5280 section 7.1), and how one reads.

THE comparison of names: whatever matches a CRL to a CA, a certificate to its issuer or an indirect entry to its
certificate issuer does it by `same`. Two names are the same when their RDNs agree one by one, each as a set of
attributes; of an attribute value of a string type neither the type (PrintableString, UTF8String, BMPString ...), nor
case, nor white space at its ends or repeated within it counts (RFC 4518: map, normalize to NFKC, insignificant
spaces). A value of another type, or one that is damaged, is compared byte for byte. The hashes of a CertID are over a
name as it stands, so they are matched by the forms of a name that are known, not by this.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from typing import Final

from vouchd.pkix import der
from vouchd.pkix.memo import memo

MAX_SHOWN_CHARACTERS = 300
# A longer one is compared as it stands: to bring text into its normal form is not linear in its length.
MAX_BYTES = 8192
_REMEMBERED = 1 << 15

# String types by tag: NumericString, PrintableString, IA5String, VisibleString and UTF8String; TeletexString as
# everybody writes it, which is Latin 1; BMPString and UniversalString.
_DECODERS: Final[dict[int, Callable[[bytes], str]]] = {
    **dict.fromkeys((0x0C, 0x12, 0x13, 0x16, 0x1A), lambda octets: octets.decode("utf-8")),
    0x14: lambda octets: octets.decode("latin-1"),
    0x1E: lambda octets: octets.decode("utf-16-be"),
    0x1C: lambda octets: octets.decode("utf-32-be"),
}


_LABELS: Final = {
    "2.5.4.3": "Common Name",
    "2.5.4.4": "Surname",
    "2.5.4.5": "Serial Number",
    "2.5.4.6": "Country",
    "2.5.4.7": "Locality",
    "2.5.4.8": "State/Province",
    "2.5.4.9": "Street Address",
    "2.5.4.10": "Organization",
    "2.5.4.11": "Organizational Unit",
    "2.5.4.12": "Title",
    "2.5.4.17": "Postal Code",
    "2.5.4.42": "Given Name",
    "2.5.4.46": "DN Qualifier",
    "2.5.4.97": "Organization Identifier",
    "1.2.840.113549.1.9.1": "Email Address",
    "0.9.2342.19200300.100.1.1": "User ID",
    "0.9.2342.19200300.100.1.25": "Domain Component",
}


def same(one: bytes, other: bytes) -> bool:
    """Whether two Names (DER) are the same by RFC 5280 section 7.1."""
    return one == other or canonical(one) == canonical(other)


@memo(_REMEMBERED)
def canonical(name_der: bytes) -> bytes:
    """What all spellings of one Name (DER) have in common; the bytes themselves where they are no Name."""
    if len(name_der) > MAX_BYTES:
        return name_der
    try:
        rdns = list(der.children(name_der, der.whole(name_der, der.SEQUENCE)))
        return der.tlv(der.SEQUENCE, *(_rdn(name_der, rdn) for rdn in rdns))
    except ValueError:
        return name_der


def _rdn(name: bytes, rdn: der.TLV) -> bytes:
    if rdn.tag != der.SET:
        raise ValueError("RelativeDistinguishedName that is no SET")
    return der.tlv(der.SET, *sorted(_attribute(name, attribute) for attribute in der.children(name, rdn)))


def _attribute(name: bytes, attribute: der.TLV) -> bytes:
    parts = list(der.children(name, attribute))
    if attribute.tag != der.SEQUENCE or len(parts) != 2:
        raise ValueError("no AttributeTypeAndValue")
    kind, value = parts
    return der.tlv(der.SEQUENCE, der.element(name, kind), _value(name, value))


def _value(name: bytes, value: der.TLV) -> bytes:
    decode = _DECODERS.get(value.tag)
    if decode is None:
        return der.element(name, value)
    try:
        text = decode(der.content(name, value))
    except UnicodeDecodeError:
        return der.element(name, value)
    return der.tlv(0x0C, _prepared(text).encode("utf-8", "surrogatepass"))


def _prepared(text: str) -> str:
    """The text as caseIgnoreMatch compares it (RFC 4518 section 2)."""
    if text.isascii() and text.isprintable():  # nothing is mapped, and all of it is in its normal form
        return " ".join(text.lower().split())
    mapped = "".join(" " if character.isspace() else character for character in text if not _ignored(character))
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", mapped).casefold()).split())


def _ignored(character: str) -> bool:
    """Whether RFC 4518 section 2.2 maps the character to nothing: controls that are no white space, and formatting."""
    return unicodedata.category(character) in {"Cc", "Cf"} and not character.isspace()


def readable(name_der: bytes) -> str:
    """A Name in DER as text for a message: `Common Name: Lab CA, Organization: Lab`; its hex when it is odd."""
    try:
        text = ", ".join(_parts(name_der))
    except ValueError:
        text = name_der[:MAX_SHOWN_CHARACTERS].hex()
    return "".join(character if character.isprintable() else "?" for character in text)[:MAX_SHOWN_CHARACTERS]


def _parts(name: bytes) -> Iterator[str]:
    """`Common Name: Lab CA` of each attribute, in their order, as many as can be shown. Raises: ValueError."""
    room = MAX_SHOWN_CHARACTERS
    for rdn in der.children(name, der.whole(name, der.SEQUENCE)):
        if rdn.tag != der.SET:
            raise ValueError("RelativeDistinguishedName that is no SET")
        for attribute in der.children(name, rdn):
            kind, value = der.children(name, attribute)
            octets, decode = der.content(name, value), _DECODERS.get(value.tag)
            oid = der.dotted(der.oid(name, kind))
            text = f"{_LABELS.get(oid, oid)}: {decode(octets) if decode else octets[:MAX_SHOWN_CHARACTERS].hex()}"
            yield text[: max(0, room)]
            room -= len(text)

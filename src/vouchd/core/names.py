"""Names for people to read."""

from __future__ import annotations

from asn1crypto import x509 as asn1

MAX_SHOWN_CHARACTERS = 300


def readable(name_der: bytes) -> str:
    """A Name in DER as text for a message: `Common Name: Lab CA, Organization: Lab`; its hex when it is odd."""
    try:
        text = str(asn1.Name.load(name_der, strict=True).human_friendly)
    except (ValueError, TypeError, KeyError):
        text = name_der.hex()
    return "".join(character if character.isprintable() else "?" for character in text)[:MAX_SHOWN_CHARACTERS]

"""Names for people to read."""

from __future__ import annotations

import pytest

from vouchd.pkix import der
from vouchd.pkix.certs import MAX_SHOWN_CHARACTERS, readable


def name_der(text: str) -> bytes:
    attribute = der.tlv(der.SEQUENCE, der.oid_tlv("2.5.4.3"), der.tlv(0x0C, text.encode()))
    return der.tlv(der.SEQUENCE, der.tlv(der.SET, attribute))


def test_readable_name_shows_its_parts():
    """A name is shown so that an operator recognises it."""
    assert readable(name_der("Lab CA")) == "Common Name: Lab CA"


@pytest.mark.parametrize("odd", [b"", b"\x30\x05\x01", b"\x04\x00", b"\x30\x03\x02\x01\x05"])
def test_readable_odd_bytes_show_as_hex(odd):
    """What is no Name is shown all the same."""
    assert readable(odd) == odd.hex()


def test_readable_control_characters_and_length_are_tamed():
    """A name out of a stranger's CRL cannot write to the terminal or fill the log."""
    shown = readable(name_der("\x1b[31m\n" + "x" * 1000))
    assert shown.isprintable()
    assert len(shown) == MAX_SHOWN_CHARACTERS

"""Names: the same or not (RFC 5280 section 7.1), and as people read them."""

from __future__ import annotations

import pytest

from vouchd.pkix import der
from vouchd.pkix.names import MAX_SHOWN_CHARACTERS, readable, same


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


# RFC 5280 section 7.1: what is the same name


def attribute(value: bytes, tag: int = 0x0C, oid: str = "2.5.4.3") -> bytes:
    return der.tlv(der.SEQUENCE, der.oid_tlv(oid), der.tlv(tag, value))


def of_rdns(*rdns: tuple[bytes, ...]) -> bytes:
    return der.tlv(der.SEQUENCE, *(der.tlv(der.SET, *attributes) for attributes in rdns))


LAB = name_der("Lab CA")


@pytest.mark.parametrize(
    "other",
    [
        of_rdns((attribute(b"Lab CA", 0x13),)),
        of_rdns((attribute(b"Lab CA", 0x14),)),
        of_rdns((attribute("Lab CA".encode("utf-16-be"), 0x1E),)),
        of_rdns((attribute("Lab CA".encode("utf-32-be"), 0x1C),)),
        of_rdns((attribute(b"LAB ca", 0x13),)),
        of_rdns((attribute(b"  Lab   CA "),)),
        of_rdns((attribute("\uff2cab\u00a0CA".encode()),)),
        of_rdns((attribute("La\u00adb CA".encode()),)),
    ],
    ids=["printable", "teletex", "bmp", "universal", "case", "white space", "compatibility forms", "soft hyphen"],
)
def test_same_name_in_another_spelling(other):
    """String type, case and insignificant white space do not count (RFC 4518)."""
    assert same(LAB, other)
    assert same(other, LAB)


@pytest.mark.parametrize(
    "other",
    [
        name_der("LabCA"),
        name_der("Lab CA2"),
        of_rdns((attribute(b"Lab CA", oid="2.5.4.10"),)),
        of_rdns((attribute(b"Lab CA", 0x04),)),
        of_rdns((attribute(b"Lab CA"), attribute(b"Lab", oid="2.5.4.10"))),
        of_rdns((attribute(b"Lab CA"),), (attribute(b"Lab", oid="2.5.4.10"),)),
        of_rdns((attribute(b"Lab \xff"),)),
        b"",
        b"\x30\x00",
    ],
)
def test_other_name_is_not_the_same(other):
    """Another value, type or number of attributes is another name, and so is what is damaged."""
    assert not same(LAB, other)


def test_attributes_of_one_rdn_are_a_set_and_rdns_a_sequence():
    """The order within a RelativeDistinguishedName means nothing, that of the RDNs does."""
    one, two = attribute(b"Lab CA"), attribute(b"Lab", oid="2.5.4.10")
    assert same(of_rdns((one, two)), of_rdns((two, one)))
    assert not same(of_rdns((one,), (two,)), of_rdns((two,), (one,)))


def test_readable_names_what_it_has_no_word_for():
    """An attribute of a type that is not known has its OID, a value that is no text its hex; several keep their order."""
    odd = der.tlv(
        der.SEQUENCE, der.tlv(der.SET, attribute(b"x", oid="1.2.3.4")), der.tlv(der.SET, attribute(b"\x01", 0x04))
    )
    assert readable(odd) == "1.2.3.4: x, Common Name: 01"

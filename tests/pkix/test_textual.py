"""Objects that come in piece by piece are what they are as a whole, and so is what is wrong with them."""

from __future__ import annotations

import base64
import gc
import re
import weakref
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vouchd.pkix import pem, textual
from vouchd.pkix.textual import Memory, ObjectReader, base64_octets

DER = b"\x30\x82\x01\x00" + bytes(range(256))
LINES = base64.encodebytes(DER)
BEGIN, END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
BLOCK = BEGIN + b"\n" + LINES + END + b"\n"
FRAGMENTS = (
    BLOCK,
    BLOCK.replace(b"\n", b"\r\n"),
    BLOCK.replace(b"X509 CRL", b"CERTIFICATE REVOCATION LIST"),
    BLOCK.replace(b"X509 CRL", b"CERTIFICATE"),
    BEGIN,
    END,
    BEGIN + END[5:],
    b"-----BEGIN ",
    b"-----BEGIN " + b"x" * 64 + b"-----",
    b"-----BEGIN " + b"x" * 59 + b"-----" + b"-----END " + b"x" * 59 + b"-----",
    LINES,
    LINES.strip(),
    DER,
    b"MAMCAQU=",
    b"MAMCAQU",
    b"MA==",
    b"=",
    b"A",
    b"-----",
    b"-",
    b"\n",
    b" ",
    b"0",
    b"\xff",
)
TEXTS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=3)), max_size=6).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=12)


def as_a_whole(text: bytes) -> bytes:
    """The one object in `text` by the plainest reading of what is supported."""
    if text[:1] == b"\x30":
        return text
    if b"-----BEGIN " not in text:
        der = decoded(text)
        if der[:1] != b"\x30":
            raise ValueError("neither DER nor PEM nor base64")
        return der
    objects = []
    at = text.find(b"-----BEGIN ")
    while at >= 0:
        begin = at + 11
        dashes = text.find(b"-----", begin, begin + 64)
        end = text.find(b"-----END " + text[begin:dashes] + b"-----", dashes) if dashes >= 0 else -1
        if end < 0:
            raise ValueError("a PEM block without its end")
        if text[begin:dashes].decode("latin-1") in pem.CRL_LABELS:
            objects.append(decoded(text[dashes + 5 : end]))
        at = text.find(b"-----BEGIN ", end)
    if len(objects) != 1:
        raise ValueError(f"{len(objects)} PEM blocks labelled {' or '.join(pem.CRL_LABELS)} where one is expected")
    return objects[0]


def decoded(text: bytes) -> bytes:
    text = re.sub(rb"[ \t\r\n]", b"", text)
    try:
        octets = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError("base64 that is damaged") from error
    if len(text) % 4 or text.endswith(b"==="):  # padding behind what needs none, which the standard library passes over
        raise ValueError("base64 that is damaged")
    return octets


def outcome(read) -> object:
    try:
        return bytes(read())
    except ValueError as error:
        return str(error)


def reader_of(text: bytes, cuts: list[int]) -> ObjectReader:
    reader = ObjectReader(pem.CRL_LABELS, Memory())
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for begin, end in pairwise(places):
        reader.add(text[begin:end])
    return reader


@given(TEXTS, CUTS)
@example(b"-----BEGIN X509 CRL-----END X509 CRL-----", [])
@example(LINES + b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----", [40])
@example(b"QQ===", [4])
@example(b"MAMCAQUA=", [])
@example(b"MAMCAQUA====", [9])
def test_object_in_pieces_is_that_of_the_whole(text, cuts):
    """Wherever it is cut, the same DER comes out or the same is wrong, asked for once or twice."""
    reader, expected = reader_of(text, cuts), outcome(lambda: as_a_whole(text))
    assert outcome(reader.object) == expected
    assert outcome(reader.object) == expected
    assert outcome(lambda: pem.single(text, pem.CRL_LABELS)) == expected
    assert len(reader) == len(text)
    assert reader.is_blank is (not text or text.isspace())


@pytest.mark.parametrize("text", [BLOCK, LINES, DER], ids=["PEM", "base64", "DER"])
def test_object_octet_by_octet_is_that_of_the_whole(text):
    """A CRL whose octets come one by one is taken all the same."""
    assert bytes(reader_of(text, list(range(len(text)))).object()) == DER


ALMOST_BASE64 = st.one_of(
    st.text("AZaz09+/=", max_size=12).map(str.encode),
    st.binary(max_size=12).map(base64.b64encode),
    st.binary(max_size=8),
    st.text('Aa+/=-_ \n\r\t"\\u0\0\x7fé', max_size=8).map(str.encode),
)


@given(ALMOST_BASE64)
@example(b"QUI=")
@example(b"QUJ=")
@example(b"QQ==QQ==")
@example(b"MAMC=")
@example(b"QQ\\u0041A")
def test_large_base64_is_read_as_strictly_as_a_small_one(text):
    """The decoder of large texts takes and refuses what that of small ones does, and tells the same octets."""
    try:
        expected = base64_octets(text)
    except ValueError:
        expected = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(textual, "LARGE_CHARACTERS", 0)
        try:
            octets = base64_octets(text)
        except ValueError:
            octets = None
    assert octets == expected


def test_object_read_already_is_taken_as_it_is():
    """Who takes one object in any form takes what a reader has read of it."""
    assert pem.single(reader_of(BLOCK, [7]), pem.CRL_LABELS) == DER


def test_reader_that_is_let_go_is_gone_without_a_look_for_garbage():
    """A start reads ten thousand certificates before anybody looks for garbage."""
    gc.disable()
    try:
        splitter = weakref.ref(one := textual.BlockSplitter())
        assert [part.label for part in (*one.add(BLOCK), *one.close())].count(b"X509 CRL") > 0
        del one
        assert splitter() is None
    finally:
        gc.enable()

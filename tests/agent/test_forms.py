"""Urlencoded forms are read as the standard says, however they are written."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vouchd.agent.certsystem.forms import _PIECE_OCTETS, parse_form

PIECES = (
    b"%41",
    b"%4a",
    b"%0D%0A",
    b"%3D",
    b"=",
    b"%",
    b"%%",
    b"%\n",
    b"%\r\n",
    b"%4",
    b"%zz",
    b"+",
    b"\r\n",
    b"_",
    b"a",
)


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3)), max_size=12).map(b"".join))
@example(b"%")
@example(b"=%\r%41\n")
def test_form_any_value_is_decoded_as_the_standard_says(text):
    """An escape is its octet, a plus a space, and all else stands for itself, a `%` without two digits too."""
    value = text.replace(b"&", b"")
    expected = unquote_to_bytes(value.replace(b"+", b" "))
    assert parse_form(b"crl=" + value) == {"crl": expected}


@pytest.mark.parametrize("shift", range(4))
def test_form_longer_than_a_piece_is_decoded_alike(shift):
    """Wherever a long value is cut on the way, no escape is."""
    value = b"a" * shift + b"%41%0a" * (_PIECE_OCTETS // 3)
    assert parse_form(b"crl=" + value) == {"crl": unquote_to_bytes(value)}


@given(st.lists(st.sampled_from([b"a=1", b"b", b"=x", b"", b"c==", b"%64=%26", b"a=2"]), max_size=8))
def test_form_fields_are_told_apart_as_the_standard_says(parts):
    """Between two `&` a name stands up to the first `=`; nothing between them is no field, the last of a name counts."""
    expected = {}
    for part in filter(None, parts):
        name, _, value = part.partition(b"=")
        expected[unquote_to_bytes(name).decode()] = unquote_to_bytes(value)
    assert parse_form(b"&".join(parts)) == expected

"""What a publisher posts is what the Certificate System's publisher does, octet for octet."""

from __future__ import annotations

import base64
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vouchd.agent.certsystem.forms import parse_form
from vouchd.client.publishing import _PIECE_OCTETS, form, form_octets
from vouchd.files import mapped_copy

MARKER = "CERTIFICATE REVOCATION LIST-----"


def plainly(crl: bytes) -> bytes:
    """The same by the library's encoder of forms."""
    text = base64.b64encode(crl).decode()
    lines = "".join(f"{text[at : at + 76]}\r\n" for at in range(0, len(text), 76))
    return urlencode({"crl": f"-----BEGIN {MARKER}\n{lines}\n-----END {MARKER}", "noui": "true"}).encode()


@given(st.binary(max_size=400))
def test_form_is_that_of_the_library(crl):
    """The quick encoder writes what the slow one does, whatever the octets and wherever a line ends."""
    assert b"".join(form(crl)) == plainly(crl)
    assert form_octets(crl) == len(plainly(crl))


@pytest.mark.parametrize("more", [-58, -57, -1, 0, 1, 57])
def test_form_longer_than_a_piece_is_that_of_the_library(more):
    """Wherever the last piece ends, in a line or with one, the form is the same, and as long as is announced."""
    crl = bytes(range(251)) * (2 * _PIECE_OCTETS // 251 + 1)
    crl = crl[: 2 * _PIECE_OCTETS + more]
    assert b"".join(form(crl)) == plainly(crl)
    assert form_octets(crl) == len(plainly(crl))


def test_form_of_a_mapped_file_is_that_of_its_octets(tmp_path):
    """A CRL that should not stand in memory is published from where it lies."""
    crl = bytes(range(251)) * (2 * _PIECE_OCTETS // 251)
    (tmp_path / "crl").write_bytes(crl)
    mapped = mapped_copy(tmp_path / "crl", len(crl))
    assert b"".join(form(mapped)) == plainly(crl)
    assert form_octets(mapped) == len(plainly(crl))


def test_form_with_every_sign_of_base64_is_read_as_it_was():
    """What needs an escape comes back as it was in the form that the agent port reads."""
    crl = bytes(range(256)) * 9 + b"\xff\xef\xbe"
    lines = parse_form(b"".join(form(crl)))["crl"].splitlines()
    assert base64.b64decode(b"".join(lines[1:-1])) == crl

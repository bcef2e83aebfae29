"""Urlencoded forms are read as the standard says, however they are written."""

from __future__ import annotations

import asyncio
import errno
import io
import tempfile
import weakref
from contextlib import nullcontext, suppress
from itertools import pairwise
from urllib.parse import unquote_to_bytes

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given
from hypothesis import strategies as st

from vouchd import files
from vouchd.agent.certsystem.forms import MAX_FIELDS, CRLForm, FormReader, parse_form
from vouchd.agent.uploads import CRLUpload
from vouchd.errors import ConfigError, StoreUnavailable
from vouchd.pkix.textual import PIECE_OCTETS

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
    value = b"a" * shift + b"%41%0a" * (PIECE_OCTETS // 3)
    assert parse_form(b"crl=" + value) == {"crl": unquote_to_bytes(value)}


@given(st.lists(st.sampled_from([b"a=1", b"b", b"=x", b"", b"c==", b"%64=%26", b"a=2"]), max_size=8))
def test_form_fields_are_told_apart_as_the_standard_says(parts):
    """Between two `&` a name stands up to the first `=`; nothing between them is no field, the last of a name counts."""
    expected = {}
    for part in filter(None, parts):
        name, _, value = part.partition(b"=")
        expected[unquote_to_bytes(name).decode()] = unquote_to_bytes(value)
    assert parse_form(b"&".join(parts)) == expected


FORMS = st.lists(
    st.one_of(st.sampled_from([*PIECES, b"&", b"crl=", b"&noui=true"]), st.binary(max_size=3)), max_size=12
)


@given(FORMS.map(b"".join), st.lists(st.integers(0, 60), max_size=8))
@example(b"crl=%4&%41", [5, 6])
@example(b"a%3Db=c", [2, 3])
def test_form_in_pieces_is_that_of_the_whole(form, cuts):
    """Wherever a form is cut, its fields are the same, in their order, those that are given twice too."""
    fields = []

    def begin(name):
        fields.append((name, bytearray()))
        return fields[-1][1].extend

    reader = FormReader(begin)
    places = sorted({0, len(form), *(cut for cut in cuts if cut < len(form))})
    for start, end in pairwise(places):
        reader.add(form[start:end])
    reader.close()
    parts = [part.partition(b"=") for part in form.split(b"&") if part]
    expected = [(plainly(name).decode("utf-8", "replace"), plainly(value)) for name, _, value in parts]
    assert fields == expected
    assert parse_form(form) == dict(expected)


def plainly(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


@pytest.mark.parametrize("cut", [1, 50, 1000])
def test_form_of_too_many_fields_is_refused_wherever_it_is_cut(cut):
    """A hundred separators are refused, and no fewer."""
    form = b"a=1&" * MAX_FIELDS
    for octets, is_refused in ((form[:-1], False), (form, True)):
        with pytest.raises(ConfigError) if is_refused else nullcontext():
            reader = FormReader(lambda _: bytearray().extend)
            for start in range(0, len(octets), cut):
                reader.add(octets[start : start + cut])


BLOCK = b"-----BEGIN X509 CRL-----\n" + b"MIIB" * 3 + b"%s\n-----END X509 CRL-----\n"


@pytest.mark.parametrize(
    "body",
    [
        b"crl=" + BLOCK % b"",
        b"crl=" + BLOCK[:40],
        b"crl=" + BLOCK % b"=A",
        b"noui=true&crl=" + BLOCK + b"&" * MAX_FIELDS,
    ],
    ids=["whole", "broken off", "damaged", "too many fields"],
)
def test_form_with_a_crl_leaves_nothing_behind_when_its_request_is_gone(body):
    """What was put aside goes at once, whatever came and was made of it: no collection of garbage is waited for."""

    async def take(form: CRLForm) -> None:
        with suppress(ConfigError, ValueError):
            (await form.read(make_mocked_request("POST", "/")))[1].crl.object()

    form = CRLForm("noui")
    form.add(body)
    asyncio.run(take(form))
    gone = weakref.ref(form)
    del form
    assert gone() is None


def test_upload_that_found_no_room_leaves_nothing_behind(monkeypatch):
    """The space that there was is given back with the request."""
    monkeypatch.setattr(files, "_LARGE_FOLDER", "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    upload = CRLUpload()
    upload.add(b"\x30" * (files.MAX_BYTES + 1))
    with pytest.raises(StoreUnavailable, match="no room") as raised:
        _ = upload.crl
    assert "free space" in raised.value.hint
    gone = weakref.ref(upload)
    del upload, raised
    assert gone() is None


class FullDisk(io.BytesIO):
    """A file on a disk without room, as its buffer makes it: what it could not write it tries again at its end."""

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "no room")

    def close(self) -> None:
        super().close()
        raise OSError(errno.ENOSPC, "no room")


@pytest.mark.filterwarnings("error")
def test_upload_that_finds_no_room_gives_back_what_it_has_at_once(monkeypatch):
    """A full disk is not kept full, by what cannot be used, until the rest has come; and all that is said is said once."""
    file = FullDisk()
    monkeypatch.setattr(files, "_nameless_file", lambda: file)
    upload = CRLUpload()
    upload.add(b"\x30" * (files.MAX_BYTES + 1))
    assert file.closed
    upload.add(b"\x30")
    with pytest.raises(StoreUnavailable, match="no room"):
        _ = upload.crl

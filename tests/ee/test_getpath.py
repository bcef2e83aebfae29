"""The GET decoder (RFC 6960 appendix A.1) takes what real clients send."""

from __future__ import annotations

import base64
from contextlib import suppress
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vouchd.ee.getpath import MAX_TARGET_BYTES, decode, remainder
from vouchd.errors import MalformedRequest

# A request whose base64 has `/`, `+` and padding in it.
DER = b"\x30\x03\xff\xff\xfe\xfb\xef\xbe\xff"
TEXT = base64.b64encode(DER + b"\x01").decode()
PREFIXES = ["/", "/ocsp/", "/ocsp/ee/ocsp/"]

# A SEQUENCE tag first, as in every OCSPRequest.
requests = st.binary(max_size=120).map(lambda rest: b"0" + rest)


def encodings(der: bytes) -> list[str]:
    """The ways to write a request into a path that clients and proxies are known to use."""
    text = base64.b64encode(der).decode()
    safe = base64.urlsafe_b64encode(der).decode()
    escaped = quote(text, safe="")
    return [
        text,
        text.rstrip("="),
        escaped,
        escaped.lower() if escaped.lower() == escaped else escaped.replace("%2F", "%2f").replace("%2B", "%2b"),
        quote(escaped, safe=""),
        "".join(f"%{ord(c):02X}" for c in text),
        "".join(f"%{ord(c):02x}" for c in text),
        safe,
        safe.rstrip("="),
        text.replace("+", "%20"),
        text.replace("=", "%3D"),
        quote_plus(base64.encodebytes(der).decode().replace("\n", "\r\n")),
    ]


@given(
    der=requests,
    way=st.integers(0, 11),
    prefix=st.sampled_from([*PREFIXES, "//", "/ocsp//", "http://host:80/", "HTTPS://h/ocsp/"]),
)
def test_decode_inverts_every_encoding(der, way, prefix):
    """Each known way of writing a request into the path is read back to the same octets, under every path."""
    assert decode((prefix + encodings(der)[way]).encode()) == der


@given(st.binary(max_size=200))
def test_decode_arbitrary_target_gives_octets_or_malformed(target):
    """No target makes the decoder fail in another way than MalformedRequest."""
    with suppress(MalformedRequest):
        assert isinstance(decode(b"/" + target), bytes)


def test_decode_double_slash_inside_is_kept():
    """`//` inside the base64 is data: folding it would break the request."""
    der = b"0" + b"\xff" * 8
    assert b"//" in base64.b64encode(der)
    assert decode(b"/ocsp/" + base64.b64encode(der)) == der


def test_decode_query_is_ignored():
    """A query is no part of the base64."""
    assert decode(f"/ocsp/{TEXT}?x=1".encode()) == DER + b"\x01"


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"//",
        b"/ocsp",
        b"/ocsp/",
        b"/ocsp/ee/ocsp",
        b"/ocsp/!!!!",
        b"/MF%zz",
        b"/M",
        b"/ocsp/M\xff\xff\xff",
        b"/ocsp/MA==MA==",
        b"/MAAAA",
        b"/ocsp/%",
        b"/favicon.ico",
    ],
)
def test_decode_junk_is_malformed(target):
    """What is not base64, and an empty path, are malformed."""
    with pytest.raises(MalformedRequest):
        decode(target)


def test_decode_too_long_is_malformed():
    """The decoder has a limit of its own."""
    with pytest.raises(MalformedRequest):
        decode(b"/" + b"M" * MAX_TARGET_BYTES)


@pytest.mark.parametrize("target", [b"/favicon.ico", b"/ocspx", b"/ca/ocsp", b"/healthz", b"*", b"/OCSP"])
def test_remainder_other_path_is_none(target):
    """A path that can be neither the service's nor base64 of a SEQUENCE is another path."""
    assert remainder(target) is None


@pytest.mark.parametrize(
    "target",
    [b"/", b"/ocsp", b"/ocsp/", b"/ocsp/ee/ocsp", b"/ocsp/ee/ocsp/", b"http://h", b"http://h/ocsp", b"/ocsp?x"],
)
def test_remainder_service_path_is_empty(target):
    """The three paths of the service, with and without a slash, in origin and absolute form."""
    assert remainder(target) == b""

"""The fields of a form as publishers and scripts send them, up to hundreds of megabytes."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_to_bytes

from aiohttp import web

from vouchd.errors import ConfigError
from vouchd.threads import in_thread

MAX_FIELDS = 100

_PIECE_OCTETS = 1 << 20
# A `%` that begins no escape: it stands for itself.
_PLAIN = re.compile(rb"%(?![0-9A-Fa-f]{2})")


async def form_fields(request: web.Request) -> Mapping[str, bytes]:
    """Field -> value, of the query and of a body that was read (it wins; of a name given twice the last).

    Both kinds of form are read: urlencoded, whatever Content-Type says, and multipart. Raises: ConfigError.
    """
    fields = {name: value.encode("utf-8", "replace") for name, value in request.query.items()}
    if request.content_type.startswith("multipart/"):
        for name, value in (await request.post()).items():
            fields[name] = await in_thread(value.file.read) if isinstance(value, web.FileField) else _octets(value)
        return fields
    if request.body_exists:
        body = await request.read()
        fields.update(await in_thread(lambda: parse_form(body)))
    return fields


def parse_form(body: bytes) -> dict[str, bytes]:
    """The fields of a urlencoded form (WHATWG URL, section 5.1). Raises: ConfigError."""
    if body.count(b"&") >= MAX_FIELDS:
        raise ConfigError(f"a form of more than {MAX_FIELDS} fields")
    fields: dict[str, bytes] = {}
    begin = 0
    while begin < len(body):  # by positions, so that a value of a hundred megabytes is copied once
        end = body.find(b"&", begin) % (len(body) + 1)
        middle = body.find(b"=", begin, end)
        name_end = end if middle < 0 else middle
        if begin < end:
            fields[_decoded(body[begin:name_end]).decode("utf-8", "replace")] = _decoded(body[name_end + 1 : end])
        begin = end + 1
    return fields


def _decoded(text: bytes) -> bytes:
    """The octets of a name or value.

    Quoted-printable has the same escapes behind another sign, and its decoder is in C: a CRL of a million entries in
    base64 has three million escapes. That one has a meaning of its own for a sign that begins no escape, so such text,
    which no program sends, is decoded by the slow one.
    """
    text = text.replace(b"+", b" ")
    if _PLAIN.search(text):
        return unquote_to_bytes(text)
    return b"".join(_unescaped(text)) if b"%" in text else text


def _unescaped(text: bytes) -> Iterator[bytes]:
    """The octets of text whose every `%` begins an escape, in pieces: all that is needed on the way is of one piece."""
    begin = 0
    while begin < len(text):
        end = begin + _PIECE_OCTETS
        cut = text.rfind(b"%", end - 2, end)  # an escape that would be cut goes into the next piece
        piece = text[begin : cut if cut > begin else end]
        yield binascii.a2b_qp(piece.replace(b"=", b"=3D").replace(b"%", b"="))
        begin += len(piece)


def _octets(value: str | bytes | bytearray) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else bytes(value)

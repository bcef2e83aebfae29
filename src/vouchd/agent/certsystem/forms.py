"""The fields of a form as publishers and scripts send them, up to hundreds of megabytes.

They are decoded as they come in: a CRL of a form never stands there as it was sent.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Collection, Mapping
from functools import partial
from urllib.parse import unquote_to_bytes

from aiohttp import web

from vouchd.agent.uploads import CRLUpload
from vouchd.errors import ConfigError
from vouchd.pkix.textual import PIECE_OCTETS
from vouchd.threads import in_thread

MAX_FIELDS = 100
Taker = Callable[[bytes], object]

_LINE_ENDS = (b"\n", b"\r")
_QUOTED_PRINTABLE = bytes.maketrans(b"%+", b"= ")


async def form_fields(request: web.Request) -> Mapping[str, bytes]:
    """Field -> value, of the query and of a body that was read (it wins; of a name given twice the last).

    Both kinds of form are read: urlencoded, whatever Content-Type says, and multipart. Raises: ConfigError.
    """
    fields = _of_query(request)
    if request.content_type.startswith("multipart/"):
        for name, value in (await request.post()).items():
            fields[name] = await in_thread(value.file.read) if isinstance(value, web.FileField) else _octets(value)
        return fields
    if request.body_exists:
        body = await request.read()
        fields.update(await in_thread(lambda: parse_form(body)))
    return fields


def _of_query(request: web.Request) -> dict[str, bytes]:
    return {name: value.encode("utf-8", "replace") for name, value in request.query.items()}


def parse_form(body: bytes) -> dict[str, bytes]:
    """The fields of a urlencoded form (WHATWG URL, section 5.1). Raises: ConfigError."""
    fields: dict[str, bytearray] = {}

    def begin(name: str) -> Taker:
        fields[name] = value = bytearray()
        return value.extend

    reader = FormReader(begin)
    for start in range(0, len(body), PIECE_OCTETS):
        reader.add(body[start : start + PIECE_OCTETS])
    reader.close()
    return {name: bytes(value) for name, value in fields.items()}


class FormReader:
    """Reads a urlencoded form piece by piece; `begin` is called with the name of each field, for who takes its value.

    However the form is cut, names and values are those of the whole.
    """

    def __init__(self, begin: Callable[[str], Taker]) -> None:
        self._begin = begin
        self._separators = 0
        self._name = bytearray()
        self._take: Taker | None = None  # the value of the field, whose name is complete
        self._escape = b""  # the beginning of one, cut by the end of a piece

    def add(self, piece: bytes) -> None:
        """The next octets. Raises: ConfigError when there are too many fields; what takers raise."""
        self._separators += piece.count(b"&")
        if self._separators >= MAX_FIELDS:
            raise ConfigError(f"a form of more than {MAX_FIELDS} fields")
        first, *others = piece.split(b"&")
        self._part(first)
        for part in others:
            self.close()
            self._part(part)

    def close(self) -> None:
        """The field that came last is complete."""
        if self._take is not None:
            self._take(_decoded(self._escape))
        elif self._name:
            self._begin_value()
        self._name.clear()
        self._take, self._escape = None, b""

    def _part(self, text: bytes) -> None:
        """Some of a field, in which there is no `&`."""
        if self._take is None:
            name, equals, text = text.partition(b"=")
            self._name += name
            if not equals:
                return
            self._take = self._begin_value()
        text = self._escape + text
        cut = text.rfind(b"%", max(len(text) - 2, 0))
        self._escape, text = (b"", text) if cut < 0 else (text[cut:], text[:cut])
        if text:
            self._take(_decoded(text))

    def _begin_value(self) -> Taker:
        return self._begin(_decoded(bytes(self._name)).decode("utf-8", "replace"))


def _decoded(text: bytes) -> bytes:
    """The octets of a name or value.

    Quoted-printable has the same escapes behind another sign, and its decoder is in C: a CRL of a million entries in
    base64 has three million escapes. Each takes two octets away there, and whatever else begins with its sign less, but
    for what it has at the end of a line; so it shows whether the text was one of escapes alone. If not, which no
    program sends, it is decoded by the slow one.
    """
    escapes = text.count(b"%")
    if not escapes:
        return text.replace(b"+", b" ")
    octets = binascii.a2b_qp(text.replace(b"=", b"=3D").translate(_QUOTED_PRINTABLE))
    if len(octets) == len(text) - 2 * escapes and not any(end in text and b"%" + end in text for end in _LINE_ENDS):
        return octets
    return unquote_to_bytes(text.replace(b"+", b" "))


class CRLForm:
    """A form with a CRL in its field `crl`, which is decoded and put aside as it comes in (see Intake).

    Of the other fields those of `names` are kept. Nothing here holds itself: what was put aside goes with the request.
    """

    def __init__(self, *names: str) -> None:
        self._fields = _CRLFields(names)
        self._reader = FormReader(self._fields.begin)
        self._wrong = ""

    def add(self, piece: bytes) -> None:
        """See Intake; what is wrong is told at the end, when its sender listens."""
        if not self._wrong:
            try:
                self._reader.add(piece)
            except ConfigError as error:
                self._wrong = str(error)

    async def read(self, request: web.Request) -> tuple[dict[str, bytes], CRLUpload]:
        """The fields as `form_fields` has them, and the CRL, after the body was taken in. Raises: ConfigError."""
        if self._wrong:
            raise ConfigError(self._wrong)
        self._reader.close()
        fields = _of_query(request)
        crl = fields.pop("crl", b"")
        if request.content_type.startswith("multipart/"):
            await self._read_multipart(request)
        upload = self._fields.upload
        if upload is None:
            upload = CRLUpload()
            upload.add(crl)
        return fields | {name: bytes(value) for name, value in self._fields.values.items()}, upload

    async def _read_multipart(self, request: web.Request) -> None:
        for name, value in (await request.post()).items():
            take = self._fields.begin(name)
            if isinstance(value, web.FileField):
                while piece := await in_thread(partial(value.file.read, PIECE_OCTETS)):
                    await in_thread(partial(take, piece))
            else:
                take(_octets(value))


class _CRLFields:
    """The fields of a form that are kept: the CRL, and the values of `names`."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self.upload: CRLUpload | None = None
        self.values: dict[str, bytearray] = {}

    def begin(self, name: str) -> Taker:
        """Who takes the value of the next field."""
        if name == "crl":
            self.upload = CRLUpload()
            return self.upload.add
        if name not in self._names:
            return _drop
        self.values[name] = value = bytearray()
        return value.extend


def _drop(_: bytes) -> None:
    """Keep nothing."""


def _octets(value: str | bytes | bytearray) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else bytes(value)

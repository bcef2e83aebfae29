"""Objects in DER, PEM (RFC 7468) or bare base64 as their octets come in: decoded meanwhile, piece by piece.

However the octets are cut into pieces, what comes out is that of the whole, and so is what is wrong with it. What a
piece leaves undecided is kept until the next one: what may become a line that begins or ends a block, and the last four
characters of base64, which may be padding, behind which nothing may come.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from vouchd.pkix.der import Buffer

PIECE_OCTETS = 1 << 20
LARGE_CHARACTERS = 1 << 16
_SEQUENCE = b"\x30"
_BEGIN, _DASHES, _LABEL_BYTES = b"-----BEGIN ", b"-----", 64
_BLANKS = b" \t\r\n"


class Part(NamedTuple):
    """Text outside of any block (`label` is None) or of the body of one, whose first part begins, whose last ends."""

    label: bytes | None
    text: bytes
    begins: bool = False
    ends: bool = False


class BlockSplitter:
    """Tells what of a text stands in which PEM block."""

    def __init__(self) -> None:
        self._text, self._at = b"", 0  # what is to be looked at begins at that octet
        self._label, self._end = b"", b""
        self._line = 0  # octets ahead that belong to the line which began the block
        # A function and no method of this object, which would keep itself until somebody looks for garbage.
        self._next: Callable[[BlockSplitter], tuple[Part | None, bool]] = BlockSplitter._outside

    def add(self, piece: bytes) -> Iterator[Part]:
        """The parts that can be told with this piece. Raises: ValueError at a block whose label does not end."""
        self._text, self._at, goes_on = self._text[self._at :] + piece, 0, True
        while goes_on:
            part, goes_on = self._next(self)
            if part is not None:
                yield part

    def close(self) -> Iterator[Part]:
        """The last part. Raises: ValueError at a block that has no end."""
        if self._next is not BlockSplitter._outside:
            raise _without_end()
        yield Part(None, self._taken(len(self._text)))

    def _outside(self) -> tuple[Part | None, bool]:
        at = self._text.find(_BEGIN, self._at)
        if at < 0:
            return Part(None, self._taken(len(self._text) - len(_BEGIN) + 1)), False
        text = self._taken(at)
        self._at += len(_BEGIN)
        self._next = BlockSplitter._in_label
        return Part(None, text), True

    def _in_label(self) -> tuple[Part | None, bool]:
        limit = self._at + _LABEL_BYTES
        at = self._text.find(_DASHES, self._at, limit)
        if at < 0:
            if len(self._text) >= limit:
                raise _without_end()
            return None, False
        self._label = self._taken(at)
        self._end, self._line = b"-----END " + self._label + _DASHES, len(_DASHES)
        self._next = BlockSplitter._in_body
        return Part(self._label, b"", begins=True), True

    def _in_body(self) -> tuple[Part | None, bool]:
        at = self._text.find(self._end, self._at)
        ends = at >= 0
        text = self._taken(at if ends else len(self._text) - len(self._end) + 1)
        body, self._line = text[self._line :], max(self._line - len(text), 0)
        if ends:
            self._next = BlockSplitter._outside  # from this very line on: its dashes may begin the next block
        return Part(self._label, body, ends=ends), ends

    def _taken(self, end: int) -> bytes:
        """The text up to that octet, if there is any."""
        text = self._text[self._at : max(end, self._at)]
        self._at += len(text)
        return text


class Base64Decoder:
    """Hands the octets of base64 in lines to `write`."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._rest = b""
        self._is_damaged = False

    def add(self, text: bytes) -> None:
        """The next characters; blanks between them do not count."""
        if self._is_damaged:
            return
        text = self._rest + text.translate(None, _BLANKS)
        self._rest = text[(end := max(len(text) - 1, 0) // 4 * 4) :]
        self._decode(text[:end], padded=False)

    def close(self) -> None:
        """Nothing follows. Raises: ValueError when it was no base64."""
        self._decode(self._rest, padded=True)
        if self._is_damaged:
            raise ValueError("base64 that is damaged")

    def _decode(self, text: bytes, *, padded: bool) -> None:
        self._is_damaged = self._is_damaged or (not padded and b"=" in text)
        try:
            octets = b"" if self._is_damaged else base64_octets(text)
        except ValueError:
            self._is_damaged = True
        else:
            self._write(octets)


def base64_octets(text: bytes) -> bytes:
    """The octets of base64 without blanks. Raises: ValueError when it is none.

    For a large text there is a decoder that is thrice as quick and takes the same; it takes longer to load than a small
    one takes.
    """
    if len(text) % 4 or text.endswith(b"==="):  # the standard library passes over padding behind what needs none
        raise ValueError("not a whole number of groups of four characters")
    if len(text) < LARGE_CHARACTERS:
        return base64.b64decode(text, validate=True)
    from msgspec import ValidationError, convert  # noqa: PLC0415  see above

    try:
        return convert(text.decode("ascii"), bytes)
    except ValidationError as error:
        raise ValueError(str(error)) from error


class Storage(Protocol):
    """Where an object is put while it comes in."""

    def write(self, octets: bytes, /) -> object:
        """Put them behind what is there."""

    def clear(self) -> None:
        """Begin again."""

    def view(self) -> Buffer:
        """All that is there."""


class Memory:
    """Storage in this process's own memory."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self.write = self._octets.extend
        self.clear = self._octets.clear

    def view(self) -> bytes:
        """See Storage."""
        return bytes(self._octets)


class ObjectReader:
    """Takes one object in DER, PEM with one of these labels, or base64; its DER is put into `storage` meanwhile.

    Other text and blocks are passed over. `len` tells how many octets came.
    """

    def __init__(self, labels: Sequence[str], storage: Storage) -> None:
        self._wanted = frozenset(label.encode() for label in labels)
        self._named = " or ".join(labels)
        self._storage = storage
        self._octets = 0
        self._is_blank, self._is_der = True, False
        self._wrong = ""  # words: an error would hold who keeps it, and so what was put aside
        self._is_closed = False
        self._splitter = BlockSplitter()
        self._decoder = Base64Decoder(storage.write)  # of what stands outside of blocks, until there is one
        self._has_blocks, self._objects = False, 0

    def __len__(self) -> int:
        return self._octets

    @property
    def is_blank(self) -> bool:
        """Whether nothing came but blanks."""
        return self._is_blank

    def add(self, piece: bytes) -> None:
        """Take the next octets; what is wrong with them is told at the end. Raises: what the storage does."""
        if not self._octets:
            self._is_der = piece[:1] == _SEQUENCE
        self._octets += len(piece)
        self._is_blank = self._is_blank and (not piece or piece.isspace())
        if self._is_der:
            self._storage.write(piece)
        else:
            self._take(lambda: self._splitter.add(piece))

    def object(self) -> Buffer:
        """The DER, after the last octet. Raises: ValueError when there was no object, or more than one."""
        if not self._is_der:
            self._take(self._last)
        if self._wrong:
            raise ValueError(self._wrong)
        return self._storage.view()

    def _last(self) -> Iterator[Part]:
        """What the end tells; asked again, nothing more. Raises: ValueError."""
        if not self._is_closed:
            self._is_closed = True
            yield from self._splitter.close()
            if not self._has_blocks:
                self._decoder.close()
                if self._storage.view()[:1] != _SEQUENCE:
                    raise ValueError("neither DER nor PEM nor base64")
            elif self._objects != 1:
                raise ValueError(f"{self._objects} PEM blocks labelled {self._named} where one is expected")

    def _take(self, parts: Callable[[], Iterator[Part]]) -> None:
        if not self._wrong:
            try:
                for part in parts():
                    self._put(part)
            except ValueError as error:
                self._wrong = str(error)

    def _put(self, part: Part) -> None:
        """Raises: ValueError at the end of a block that is damaged."""
        if part.label is None:
            if not self._has_blocks:
                self._decoder.add(part.text)
            return
        if not self._has_blocks:
            self._has_blocks = True
            self._storage.clear()
        if part.label not in self._wanted:
            return
        if part.begins:  # of a second one nothing is kept: it is one too many
            self._decoder = Base64Decoder(_drop if self._objects else self._storage.write)
        self._decoder.add(part.text)
        if part.ends:
            self._decoder.close()
            self._objects += 1


def _drop(_: bytes) -> None:
    """Keep nothing."""


def _without_end() -> ValueError:
    return ValueError("a PEM block without its end")


# An object in any of these forms: its octets, or who has taken them in.
ObjectSource = Buffer | ObjectReader

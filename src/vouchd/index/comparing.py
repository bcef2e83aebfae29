"""What differs between two CRLs as a whole: each serial that came, went, or is listed otherwise.

Both are sorted into index files in a scratch folder and read in step, block by block, so that memory does not grow with
the CRLs; two of a million entries take some seconds of one core.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from struct import Struct

from vouchd.index.format import ChangesFile, RevocationIndexFile
from vouchd.index.layers import LayeredIndex, fold, records_of
from vouchd.index.writing import write_crl_index
from vouchd.pkix.crl import read_header
from vouchd.pkix.der import Buffer
from vouchd.pkix.packed import RecordLayout
from vouchd.pkix.reasons import RevocationEntry


@dataclass(frozen=True, slots=True)
class CRLState:
    """What a CRL says is revoked: a complete CRL (DER), or a delta CRL over one."""

    base: Buffer
    delta: Buffer | None = None


class ChangeKind(StrEnum):
    """What became of a serial from one CRL to the other."""

    CAME = "came"
    WENT = "went"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class EntryChange:
    """One serial: its entry in the one CRL and in the other, None where that does not list it."""

    before: RevocationEntry | None
    after: RevocationEntry | None

    @property
    def kind(self) -> ChangeKind:
        """What became of it."""
        if self.before is None:
            return ChangeKind.CAME
        return ChangeKind.WENT if self.after is None else ChangeKind.CHANGED

    @property
    def serial(self) -> bytes:
        """DER INTEGER content octets."""
        one = self.after or self.before
        return one.serial if one is not None else b""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many serials came, went and changed, how many each CRL lists, and the part of the changes that was wanted."""

    came: int
    went: int
    changed: int
    before: int
    after: int
    part: tuple[EntryChange, ...]


def compare_crls(
    before: CRLState, after: CRLState, *, skip: int = 0, limit: int, certificate_issuer: bytes | None = None
) -> Comparison:
    """Compare two CRLs; of the changes, by serial, `limit` after the first `skip` are told.

    Of indirect CRLs the entries for certificates of `certificate_issuer` (DER of its Name) count. Raises: CRLRejected
    when one is malformed; StoreUnavailable when there is no room.
    """
    with tempfile.TemporaryDirectory(prefix="vouchd-compare-") as name:
        folder = Path(name)
        old = _index(folder / "before", before, certificate_issuer)
        new = _index(folder / "after", after, certificate_issuer)
        layout = RecordLayout(
            max(old.key_width, new.key_width), invalidity=old.layout.invalidity or new.layout.invalidity
        )
        counts = dict.fromkeys(ChangeKind, 0)
        part: list[EntryChange] = []
        for place, (one, other) in enumerate(_differing(records_of(old, layout), records_of(new, layout), layout)):
            kind = ChangeKind.CAME if one is None else ChangeKind.WENT if other is None else ChangeKind.CHANGED
            counts[kind] += 1
            if skip <= place < skip + limit:
                entries = (None if record is None else layout.unpack(record) for record in (one, other))
                part.append(EntryChange(*entries))
        came, went, changed = (counts[kind] for kind in ChangeKind)
        return Comparison(came, went, changed, len(old), len(new), tuple(part))


def _index(path: Path, state: CRLState, certificate_issuer: bytes | None) -> RevocationIndexFile:
    """The index file of what is revoked, written at that path."""
    path.mkdir()
    base, delta, whole = path / "base", path / "delta", path / "whole"
    write_crl_index(base, state.base, read_header(state.base), certificate_issuer)
    if state.delta is None:
        return RevocationIndexFile(base)
    write_crl_index(delta, state.delta, read_header(state.delta), certificate_issuer)
    fold(whole, LayeredIndex(RevocationIndexFile(base), ChangesFile(delta)))
    return RevocationIndexFile(whole)


def _differing(
    old: Iterator[bytes], new: Iterator[bytes], layout: RecordLayout
) -> Iterator[tuple[bytes | None, bytes | None]]:
    """The records of either that the other does not have just so, two of one serial together, in their order."""
    width = layout.serial_width
    ours: list[bytes] = []
    theirs: list[bytes] = []
    while True:
        ours = ours or _next(old, layout.size)
        theirs = theirs or _next(new, layout.size)
        if not ours and not theirs:
            return
        if ours and theirs:
            last = min(ours[-1][:width], theirs[-1][:width])
            ends = [bisect_right(some, last, key=lambda record: record[:width]) for some in (ours, theirs)]
        else:
            ends = [len(ours), len(theirs)]
        yield from _pairs(ours[: ends[0]], theirs[: ends[1]], width)
        ours, theirs = ours[ends[0] :], theirs[ends[1] :]


def _next(blobs: Iterator[bytes], size: int) -> list[bytes]:
    return list(chain.from_iterable(Struct(f"{size}s").iter_unpack(next(blobs, b""))))


def _pairs(ours: list[bytes], theirs: list[bytes], width: int) -> Iterator[tuple[bytes | None, bytes | None]]:
    if ours == theirs:
        return
    both = set(ours).intersection(theirs)
    gone = {record[:width]: record for record in ours if record not in both}
    come = {record[:width]: record for record in theirs if record not in both}
    for key in sorted(gone.keys() | come.keys()):
        yield gone.get(key), come.get(key)

"""The entries of a large CRL, read by two processes at a time: this one has the first half, another one the second.

Why this is right. Where an entry ends shows only to who has read all before it, so the place in the middle is a guess.
But when all from the first entry to that place are whole entries, and all from there to the end are, then these are the
entries of the list: there is one way to read it. Of an indirect CRL an entry may change what the next ones mean, so it
is not parted. Whatever else comes of either half (a wrong guess, an entry that is refused, a wider layout that is
needed, a process that ends early) is no verdict: `Undecided` has the whole list read by one process, which judges.

The other process maps the nameless file that the CRL lies in, and sorts what it reads into runs in a nameless file of
its caller's, behind which it writes how many records each has.
"""

from __future__ import annotations

import mmap
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from struct import Struct
from typing import BinaryIO, Final

from vouchd.errors import CRLRejected
from vouchd.files import spool_file
from vouchd.index.sorting import RUN_RECORDS, Sorter, write_run
from vouchd.pkix import der
from vouchd.pkix.crl import CRLHeader, Span, read_header
from vouchd.pkix.crl_entries import packed_entries
from vouchd.pkix.der import Buffer
from vouchd.pkix.packed import RecordLayout

LARGE_BYTES = 16 << 20  # another process takes as long to start as some ten thousand entries to read
_PROGRAM: Final = (sys.executable, "-m", "vouchd.index.halves")
_ENTRY: Final = re.compile(rb"\x30[\x12-\x7f]\x02")
_LOOKED_AT_BYTES, _IN_A_ROW = 1 << 13, 32
_COUNT = Struct(">I")


class Undecided(Exception):
    """The halves did not come out as entries of this layout: the list has to be read as one."""


def middle(crl: Buffer, header: CRLHeader) -> int | None:
    """Where an entry near the middle of a large list seems to begin; None where it is to be read as one."""
    start, end = header.entries
    if end - start < LARGE_BYTES or header.scope.indirect or spool_file(crl) is None or _processors() < 2:
        return None
    about = (start + end) // 2
    near = bytes(crl[about : about + _LOOKED_AT_BYTES])
    return next((about + match.start() for match in _ENTRY.finditer(near) if _is_row(near, match.start())), None)


def _is_row(near: bytes, pos: int) -> bool:
    """Whether some entries seem to follow one another from there."""
    try:
        for _ in range(_IN_A_ROW):
            entry = der.expect(near, pos, len(near), der.SEQUENCE)
            der.expect(near, entry.start, entry.end, der.INTEGER)
            pos = entry.end
    except ValueError:
        return False
    return True


def add_halves(sorter: Sorter, crl: Buffer, header: CRLHeader, layout: RecordLayout, place: int) -> None:
    """Give the sorter the records of all entries, of which one begins at `place`.

    Raises: Undecided, LayoutTooNarrow, after which the sorter is of no use; OSError when the disk is full.
    """
    start, end = header.entries
    batches = packed_entries(crl, replace(header, entries=Span(start, place)), layout)
    try:
        sorter.add(next(batches, []))  # as a rule the first entries tell whether the layout does
        runs = sorter.new_file()
        with _second_half(crl, runs, Span(place, end), layout) as process:
            for records in batches:
                sorter.add(records)
            if process.wait() != 0:
                raise Undecided
        sorter.adopt(runs, _counts(runs, layout.size))
    except (CRLRejected, ValueError) as error:
        raise Undecided from error


@contextmanager
def _second_half(crl: Buffer, runs: BinaryIO, entries: Span, layout: RecordLayout) -> Iterator[subprocess.Popen[bytes]]:
    """The process that reads these entries; it does not outlast the block. Raises: Undecided when none can begin."""
    arguments = (*entries, layout.serial_width, int(layout.invalidity))
    try:
        process = subprocess.Popen(  # noqa: S603  our own program
            (*_PROGRAM, *map(str, arguments)), stdin=spool_file(crl), stdout=runs, stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Undecided from error
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _counts(runs: BinaryIO, record_octets: int) -> list[int]:
    """How many records each run has, which stands behind them. Raises: ValueError when that is not all there is."""
    descriptor = runs.fileno()
    size = os.fstat(descriptor).st_size
    if size >= _COUNT.size:
        (many,) = _COUNT.unpack(os.pread(descriptor, _COUNT.size, size - _COUNT.size))
        records_end = size - (many + 1) * _COUNT.size
        if records_end > 0:
            counts = [count for (count,) in _COUNT.iter_unpack(os.pread(descriptor, many * _COUNT.size, records_end))]
            if sum(counts) * record_octets == records_end:
                return counts
    raise ValueError("the runs were not written to their end")


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def main() -> None:
    """Read the entries between two octets of the CRL in standard input; their runs go to standard output."""
    start, end, width, invalidity = map(int, sys.argv[1:])
    layout = RecordLayout(width, invalidity=bool(invalidity))
    crl = memoryview(mmap.mmap(0, 0, access=mmap.ACCESS_READ))
    header = replace(read_header(crl), entries=Span(start, end))
    runs = sys.stdout.buffer
    counts = [len(write_run(runs, records)) // layout.size for records in _runs(packed_entries(crl, header, layout))]
    runs.write(b"".join(map(_COUNT.pack, (*counts, len(counts)))))
    runs.flush()


def _runs(batches: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """The records in lists as long as runs are."""
    pending: list[bytes] = []
    for records in batches:
        pending += records
        if len(pending) >= RUN_RECORDS:
            yield pending
            pending = []
    if pending:
        yield pending


if __name__ == "__main__":
    main()

"""The entries of a large CRL, read by two processes at a time: this one has the first half, another one the second.

Why this is right. Where an entry ends shows only to who has read all before it, so the place in the middle is a guess.
But when all from the first entry to that place are whole entries, and all from there to the end are, then these are the
entries of the list: there is one way to read it. Of an indirect CRL an entry may change what the next ones mean, so it
is not parted. Whatever else comes of either half (a wrong guess, an entry that is refused, a wider layout that is
needed, a process that ends early) is no verdict: `Undecided` has the whole list read by one process, which judges.

The other process maps the nameless file that the CRL lies in, sorts what it reads into runs in another one, and tells
how many records each has. Then it is told how many those of this process have, and a key: it merges the records of all
runs that are not below that key while this process merges the others, and says how many octets they are. Each of the
two has all it needs for the whole: where the other one does not come to its end, this one merges the rest as well.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from vouchd.errors import CRLRejected
from vouchd.files import inherited_file, spool_file
from vouchd.hardening import PROGRAM
from vouchd.index.precedence import record_sorter
from vouchd.index.sorting import RUN_RECORDS, Sorter, write_run
from vouchd.pkix import der
from vouchd.pkix.crl import CRLHeader, Span, read_header
from vouchd.pkix.crl_entries import packed_entries
from vouchd.pkix.der import Buffer
from vouchd.pkix.packed import RecordLayout

LARGE_BYTES = 16 << 20  # another process takes as long to start as some ten thousand entries to read
# Not with what lies in the folder that a command is given in, which may be anybody's.
_PROGRAM: Final = (*PROGRAM, "vouchd.index.halves")
_ENTRY: Final = re.compile(rb"\x30[\x12-\x7f]\x02")
_LOOKED_AT_BYTES, _IN_A_ROW = 1 << 13, 32
_BLOB_RECORDS = 1 << 15


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


@contextmanager
def sorted_halves(
    sorter: Sorter, crl: Buffer, header: CRLHeader, layout: RecordLayout, place: int
) -> Iterator[Iterator[bytes]]:
    """The records of all entries, of which one begins at `place`, as `Sorter.blobs` has them; for the block.

    Raises: Undecided, LayoutTooNarrow, after which the sorter is of no use; OSError when the disk is full.
    """
    start, end = header.entries
    batches = packed_entries(crl, replace(header, entries=Span(start, place)), layout)
    try:
        sorter.add(next(batches, []))  # as a rule the first entries tell whether the layout does
        with _OtherProcess(sorter, crl, Span(place, end), layout) as other:
            for records in batches:
                sorter.add(records)
            other.finish_reading()
            yield other.blobs()
    except CRLRejected as error:
        raise Undecided from error


class _OtherProcess:
    """Reads the entries of the second half, then puts the records of both halves in order that have the higher keys.

    It does not outlast its block. Raises: Undecided when none can begin.
    """

    def __init__(self, sorter: Sorter, crl: Buffer, entries: Span, layout: RecordLayout) -> None:
        self._sorter, self._size = sorter, layout.size
        self._runs, self._sorted = sorter.new_file(), sorter.new_file()
        mapped = spool_file(crl)
        if mapped is None:  # pragma: no cover  `middle` has looked
            raise Undecided
        descriptors = [file.fileno() for file in (mapped, self._runs, sorter.file, self._sorted)]
        arguments = (*entries, layout.serial_width, int(layout.invalidity), *descriptors)
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                (*_PROGRAM, *map(str, arguments)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=descriptors,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Undecided from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def finish_reading(self) -> None:
        """Wait until its half is read, and have the sorter know its runs. Raises: Undecided, OSError."""
        own = self._sorter.runs()
        try:
            counts = _read_counts(self._process.stdout)
            if os.fstat(self._runs.fileno()).st_size != sum(counts) * self._size:
                raise Undecided
        except ValueError as error:
            raise Undecided from error
        self._sorter.adopt(self._runs, counts)
        self._own = own

    def blobs(self) -> Iterator[bytes]:
        """All records, sorted. Raises: OSError."""
        bound = self._sorter.middle()
        if bound is None:
            yield from self._sorter.blobs()
            return
        self._ask(bound)
        yield from self._sorter.blobs(end=bound)
        if self._is_merged(bound):
            yield from self._sorted_blobs()
        else:
            yield from self._sorter.blobs(begin=bound)

    def _ask(self, bound: bytes) -> None:
        """Have it sort the records whose keys are not below the bound."""
        if self._process.stdin is not None:
            with suppress(OSError), self._process.stdin as orders:  # when it has ended, it does not say what it made
                orders.write(json.dumps([bound.hex(), self._own]).encode() + b"\n")

    def _is_merged(self, bound: bytes) -> bool:
        """Whether it says so, all of that is there, and begins as it must: the bound is the key of a record.

        The status of a process is no word of it: whoever is started with SIGCHLD ignored sees none, which reads as 0.
        """
        try:
            octets = json.loads(self._process.stdout.readline()) if self._process.stdout is not None else None
        except ValueError:
            return False
        file = self._sorted.fileno()
        return octets == os.fstat(file).st_size and os.pread(file, len(bound), 0) == bound

    def _sorted_blobs(self) -> Iterator[bytes]:
        begin, step = 0, _BLOB_RECORDS * self._size
        while blob := os.pread(self._sorted.fileno(), step, begin):
            yield blob
            begin += len(blob)


def _read_counts(lines: IO[bytes] | None) -> list[int]:
    """How many records each run has. Raises: ValueError when it was not told."""
    counts = json.loads(lines.readline()) if lines is not None else None
    if not isinstance(counts, list) or not all(isinstance(count, int) and count > 0 for count in counts):
        raise ValueError("no counts of runs")
    return counts


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def main() -> None:
    """Read the entries between two octets of a CRL and write their runs, then merge these and others above a key.

    Arguments are these octets, the layout, and descriptors: of the CRL, of the runs of either half, of what is merged.
    """
    start, end, width, invalidity, mapped, own, others, result = map(int, sys.argv[1:])
    layout = RecordLayout(width, invalidity=bool(invalidity))
    crl = memoryview(mmap.mmap(mapped, 0, access=mmap.ACCESS_READ))
    header = replace(read_header(crl), entries=Span(start, end))
    with inherited_file(own) as runs, inherited_file(others) as of_others, inherited_file(result) as file:
        counts = [
            len(write_run(runs, records)) // layout.size for records in _runs(packed_entries(crl, header, layout))
        ]
        sys.stdout.write(f"{json.dumps(counts)}\n")
        sys.stdout.flush()
        # A line, whose end others cannot keep from coming that have the pipe too; nothing where the parent has ended.
        bound, counts_of_others = json.loads(sys.stdin.readline())
        sorter = record_sorter(layout, Path())
        sorter.adopt(runs, counts)
        sorter.adopt(of_others, counts_of_others)
        octets = sum(map(file.write, sorter.blobs(begin=bytes.fromhex(bound))))
    sys.stdout.write(f"{octets}\n")


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

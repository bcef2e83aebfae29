"""Sorting more fixed-width records than should stand in memory: sorted runs on disk, merged range by range.

A range is the records of all runs between two keys; it is put together, sorted (which on runs that are sorted already
is a merge, in C) and handed on. So some ten MiB do for any number of records. Runs and ranges are short for another
reason as well: records are compared where they lie, and those of a short run lie in the processor's cache.
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, groupby
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import BinaryIO, Self

RUN_RECORDS = 1 << 16
RANGE_RECORDS = 1 << 15
_SAMPLE_EVERY = 1 << 8
_TELLING_OCTETS = 4


class _Run:
    """Sorted records in a part of a file; read, not mapped, so that they do not count as this process's memory.

    `samples` are the keys of the first record and of each _SAMPLE_EVERY-th after it.
    """

    def __init__(self, descriptor: int, begin: int, octets: bytes, size: int, width: int) -> None:
        self._descriptor, self._begin = descriptor, begin
        self._count, self._size, self._width = len(octets) // size, size, width
        self.samples = [octets[at : at + width] for at in range(0, len(octets), size * _SAMPLE_EVERY)]

    @classmethod
    def of(cls, descriptor: int, begin: int, count: int, size: int, width: int) -> Self:
        """The run of so many records that is there already. Raises: OSError."""
        return cls(descriptor, begin, os.pread(descriptor, count * size, begin), size, width)

    def __len__(self) -> int:
        return self._count

    def place(self, key: bytes) -> int:
        """The number of the first record that is not below `key`."""
        first = max(bisect_left(self.samples, key) - 1, 0) * _SAMPLE_EVERY
        near = self.read(first, min(first + _SAMPLE_EVERY, self._count))
        size, width = self._size, self._width
        return first + bisect_left(
            range(len(near) // size), key, key=lambda number: near[number * size : number * size + width]
        )

    def read(self, first: int, last: int) -> bytes:
        """The records from `first` to `last` (not included)."""
        return os.pread(self._descriptor, (last - first) * self._size, self._begin + first * self._size)


def write_run(file: BinaryIO, records: list[bytes]) -> bytes:
    """Sort the records, write them behind what is in the file, and return what was written. Raises: OSError."""
    records.sort()
    octets = b"".join(records)
    file.write(octets)
    file.flush()
    return octets


class Sorter:
    """Takes records of `size` octets in any order and gives them back sorted, one for each key.

    The key is the first `key_width` octets. Of records that share one, `choose` picks that which stays. Runs are
    written to nameless files in `directory`. A context manager: leaving it gives the space back.
    """

    def __init__(self, size: int, key_width: int, choose: Callable[[list[bytes]], bytes], directory: Path) -> None:
        self._size, self._width, self._choose, self._directory = size, key_width, choose, directory
        self._runs: list[_Run] = []
        self._pending: list[bytes] = []
        self._file: BinaryIO | None = None
        self._files = ExitStack()
        self._split = Struct(f"{size}s").iter_unpack

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pending = []
        self._files.close()

    def add(self, records: list[bytes]) -> None:
        """Take some more records. Raises: OSError when the disk is full."""
        self._pending += records
        if len(self._pending) >= RUN_RECORDS:
            self._spill()

    def new_file(self) -> BinaryIO:
        """A file for runs that somebody else writes, which is there as long as this sorter is. Raises: OSError."""
        # Nameless, so that nothing is left behind by a process that is killed.
        return self._files.enter_context(tempfile.TemporaryFile(dir=self._directory))

    def adopt(self, file: BinaryIO, counts: Sequence[int]) -> None:
        """Take the records of the runs that `write_run` has put into that file, in a row. Raises: OSError."""
        begin = 0
        for count in counts:
            self._runs.append(_Run.of(file.fileno(), begin, count, self._size, self._width))
            begin += count * self._size

    def runs(self) -> list[int]:
        """Have all records so far in `file`; returns how many each run has, before others are adopted."""
        self._spill()
        return [len(run) for run in self._runs]

    @property
    def file(self) -> BinaryIO:
        """Where the runs are written. Raises: OSError."""
        if self._file is None:
            self._file = self.new_file()
        return self._file

    def middle(self) -> bytes | None:
        """A key that half of the records, which are in runs all, are below; None where there are few."""
        bounds = self._bounds()
        return bounds[len(bounds) // 2] if bounds else None

    def blobs(self, begin: bytes | None = None, end: bytes | None = None) -> Iterator[bytes]:
        """All records, sorted, in pieces of whole records; once, after the last `add`.

        Of records that are in runs all, those whose keys are not below `begin` and are below `end`.
        """
        if self._runs:
            self._spill()
            yield from self._merged(begin, end)
        elif self._pending:
            self._pending.sort()
            yield self._joined(self._pending)

    def _spill(self) -> None:
        if not self._pending:
            return
        begin = self.file.tell()
        octets = write_run(self.file, self._pending)
        self._runs.append(_Run(self.file.fileno(), begin, octets, self._size, self._width))
        self._pending = []

    def _merged(self, begin: bytes | None, end: bytes | None) -> Iterator[bytes]:
        runs = self._runs
        places = [0 if begin is None else run.place(begin) for run in runs]
        bounds = [key for key in self._bounds() if (begin is None or key > begin) and (end is None or key < end)]
        for bound in (*bounds, end):
            records: list[bytes] = []
            for i, run in enumerate(runs):
                place = len(run) if bound is None else run.place(bound)
                records += chain.from_iterable(self._split(run.read(places[i], place)))
                places[i] = place
            records.sort()
            if records:
                yield self._joined(records)

    def _bounds(self) -> list[bytes]:
        """Keys that part the records of all runs into ranges of about RANGE_RECORDS."""
        samples = sorted(chain.from_iterable(run.samples for run in self._runs))
        every = RANGE_RECORDS // _SAMPLE_EVERY
        return samples[every::every]

    def _joined(self, records: list[bytes]) -> bytes:
        octets = b"".join(records)
        if not self._may_repeat(octets):
            return octets
        width = self._width
        groups = (list(group) for _, group in groupby(records, key=lambda record: record[:width]))
        return b"".join([self._choose(group) if len(group) > 1 else group[0] for group in groups])

    def _may_repeat(self, octets: bytes) -> bool:
        """Whether a sorted record may have the key of the one before.

        The last octets of the keys tell, which differ most: those of all records at once, as one number a column.
        """
        differing = 0
        for at in range(max(self._width - _TELLING_OCTETS, 0), self._width):
            column = int.from_bytes(octets[at :: self._size], "big")
            differing |= column ^ column >> 8
        return b"\0" in differing.to_bytes(len(octets) // self._size, "big")[1:]

"""Sorting more fixed-width records than should stand in memory: sorted runs on disk, merged range by range.

A range is the records of all runs between two keys; it is put together, sorted (which on runs that are sorted already
is a merge, in C) and handed on. So some hundred MiB do for any number of records.
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import chain, groupby, islice
from operator import eq
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import BinaryIO, Self

RUN_RECORDS = 1 << 19
RANGE_RECORDS = 1 << 17
_SAMPLE_EVERY = 1 << 12


class _Run:
    """Sorted records in a file; read, not mapped, so that they do not count as this process's memory."""

    def __init__(self, descriptor: int, size: int, width: int) -> None:
        self._descriptor, self._size, self._width = descriptor, size, width
        self._count = os.fstat(descriptor).st_size // size

    def __len__(self) -> int:
        return self._count

    def key(self, number: int) -> bytes:
        """The key of one record."""
        return os.pread(self._descriptor, self._width, number * self._size)

    def place(self, key: bytes) -> int:
        """The number of the first record that is not below `key`."""
        return bisect_left(range(self._count), key, key=self.key)

    def read(self, first: int, last: int) -> bytes:
        """The records from `first` to `last` (not included)."""
        return os.pread(self._descriptor, (last - first) * self._size, first * self._size)


class Sorter:
    """Takes records of `size` octets in any order and gives them back sorted, one for each key.

    The key is the first `key_width` octets. Of records that share one, `choose` picks that which stays. Runs are
    written to nameless files in `directory`. A context manager: leaving it gives the space back.
    """

    def __init__(self, size: int, key_width: int, choose: Callable[[list[bytes]], bytes], directory: Path) -> None:
        self._size, self._width, self._choose, self._directory = size, key_width, choose, directory
        self._pending: list[bytes] = []
        self._files: list[BinaryIO] = []
        self._split = Struct(f"{size}s").iter_unpack

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pending = []
        for file in self._files:
            file.close()

    def add(self, records: list[bytes]) -> None:
        """Take some more records. Raises: OSError when the disk is full."""
        self._pending += records
        if len(self._pending) >= RUN_RECORDS:
            self._spill()

    def blobs(self) -> Iterator[bytes]:
        """All records, sorted, in pieces of whole records; to be called once, after the last `add`."""
        if not self._files:
            self._pending.sort()
            yield from map(self._joined, self._slices(self._pending))
            return
        self._spill()
        yield from self._merged([_Run(file.fileno(), self._size, self._width) for file in self._files])

    def _spill(self) -> None:
        if not self._pending:
            return
        self._pending.sort()
        # Closed by __exit__; nameless, so that nothing is left behind by a process that is killed.
        file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115
        self._files.append(file)
        for begin in range(0, len(self._pending), RANGE_RECORDS):
            file.write(b"".join(self._pending[begin : begin + RANGE_RECORDS]))
        file.flush()
        self._pending = []

    def _merged(self, runs: list[_Run]) -> Iterator[bytes]:
        places = [0] * len(runs)
        for bound in (*self._bounds(runs), None):
            records: list[bytes] = []
            for i, run in enumerate(runs):
                end = len(run) if bound is None else run.place(bound)
                records += chain.from_iterable(self._split(run.read(places[i], end)))
                places[i] = end
            records.sort()
            if records:
                yield self._joined(records)

    def _bounds(self, runs: list[_Run]) -> list[bytes]:
        """Keys that part the records of all runs into ranges of about RANGE_RECORDS."""
        samples = sorted(run.key(i) for run in runs for i in range(0, len(run), _SAMPLE_EVERY))
        every = RANGE_RECORDS // _SAMPLE_EVERY
        return samples[every::every]

    def _slices(self, records: list[bytes]) -> Iterator[list[bytes]]:
        """The sorted records in shorter lists that do not part those of one key."""
        begin, width = 0, self._width
        while begin < len(records):
            end = begin + RANGE_RECORDS
            while end < len(records) and records[end][:width] == records[end - 1][:width]:
                end += 1
            yield records[begin:end]
            begin = end

    def _joined(self, records: list[bytes]) -> bytes:
        width = self._width
        keys = [record[:width] for record in records]
        if any(map(eq, keys, islice(keys, 1, None))):
            groups = (list(group) for _, group in groupby(records, key=lambda record: record[:width]))
            records = [self._choose(group) if len(group) > 1 else group[0] for group in groups]
        return b"".join(records)

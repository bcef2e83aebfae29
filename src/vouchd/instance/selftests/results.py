"""The newest results of the self tests as one small JSON file, read and written by every process of an instance.

It is replaced by rename, so a reader sees a whole file or none; a lock beside it keeps two writers from losing one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from vouchd.errors import StoreUnavailable
from vouchd.files import read_file, replace_file
from vouchd.locks import acquire
from vouchd.service.selftests import SelfTestResult

_MAX_BYTES = 64 << 20  # each test tells of each CA: 10,000 take 2 MiB where all fail


class SelfTestFile:
    """Keeps the contract of SelfTestRecords in the file `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[bytes, tuple[SelfTestResult, ...]] = b"", ()

    def latest(self) -> tuple[SelfTestResult, ...]:
        """See SelfTestRecords; nothing when there is no file or it is not ours.

        The same octets as the last time are read, and not understood anew: a manager asks at each report.
        """
        try:
            octets = read_file(self._path, _MAX_BYTES)
        except FileNotFoundError:
            return ()
        known, results = self._read
        if octets != known:
            results = _understood(octets)
            self._read = octets, results
        return results

    def replace(self, results: Sequence[SelfTestResult]) -> None:
        """See SelfTestRecords."""
        with self._locked():
            self._write(results)

    def merge(self, results: Sequence[SelfTestResult]) -> None:
        """See SelfTestRecords."""
        with self._locked():
            kept = {result.name: result for result in self.latest()}
            kept.update({result.name: result for result in results})
            self._write(tuple(kept.values()))

    def _write(self, results: Sequence[SelfTestResult]) -> None:
        replace_file(self._path, json.dumps([asdict(result) for result in results]).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                acquire(lock, "writing results of self tests")
                yield
            finally:
                os.close(lock)
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"{self._path}: {error.strerror or error}", hint="mend its permissions, or free space")


def _understood(octets: bytes) -> tuple[SelfTestResult, ...]:
    try:
        return tuple(SelfTestResult(**record) for record in json.loads(octets))
    except (ValueError, TypeError):  # of another version: as good as none
        return ()


def remove_results(path: Path) -> None:
    """Forget all results: the instance does not run."""
    with suppress(FileNotFoundError):
        path.unlink()

"""The proof of an audit log, without the instance: each line intact, in its place, signed by a key that is trusted.

Nothing here can tell that the newest records were cut off, or that all since the newest signature were made anew: for
that, `head` is compared with a number and hash that were noted elsewhere before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from vouchd.audit.chain import GENESIS, MAX_LINE_BYTES, AuditRecord, Link, decode
from vouchd.audit.log import REPAIR
from vouchd.audit.log_files import lock_file, log_files
from vouchd.audit.signing import SIGNING
from vouchd.audit.trust import Trust
from vouchd.errors import ConfigError, NotFound
from vouchd.locks import acquire


@dataclass(frozen=True, slots=True)
class Broken:
    """The first line that is not as it was written; `line` counts from 1 in `file`."""

    file: Path
    line: int
    why: str


@dataclass(slots=True)
class Proof:
    """What a log has shown of itself, up to its end or to the first broken line."""

    files: int = 0
    records: int = 0
    first: int = 0  # `seq` of the first record: above 1 when older files are not there
    head: Link = field(default_factory=Link)
    signatures: int = 0
    signed_through: int = 0  # `seq` of the last record that a signature covers
    signers: tuple[str, ...] = ()  # subjects of their certificates
    repairs: tuple[int, ...] = ()  # `seq` of the records of lines that a crash cut short
    broken: Broken | None = None

    @property
    def unsigned(self) -> int:
        """How many records no signature covers, the newest signature itself not counted."""
        return self.head.seq - self.signed_through - 1 if self.signatures else self.records


def prove(path: Path, trust: Trust) -> Proof:
    """Read the log at `path` with its rotated files, oldest first, until a line is broken or all is read.

    An instance may go on writing meanwhile. Raises: NotFound when there is no log; ConfigError when it cannot be read.
    """
    proof = Proof()
    try:
        with _opened(path) as files:
            if not files:
                raise NotFound(f"there is no audit log {path}", hint="name its file, or the instance's folder")
            for name, file, size in files:
                proof.files += 1
                _read(proof, trust, name, file, size)
                if proof.broken:
                    break
    except OSError as error:
        raise ConfigError(f"the audit log {path} cannot be read: {error.strerror}") from error
    return proof


@contextmanager
def _opened(path: Path) -> Iterator[list[tuple[Path, BinaryIO, int]]]:
    """The files with their sizes as of one moment between two records."""
    with ExitStack() as stack:
        if lock_file(path).exists() and os.access(lock_file(path), os.R_OK):
            with lock_file(path).open("rb") as lock:
                acquire(lock.fileno(), "writing the audit log", shared=True)
                files = _open_all(stack, path)
        else:
            files = _open_all(stack, path)
        yield files


def _open_all(stack: ExitStack, path: Path) -> list[tuple[Path, BinaryIO, int]]:
    files = [(name, stack.enter_context(name.open("rb"))) for name in log_files(path)]
    return [(name, file, os.fstat(file.fileno()).st_size) for name, file in files]


def _read(proof: Proof, trust: Trust, name: Path, file: BinaryIO, size: int) -> None:
    number = 0
    while file.tell() < size:
        number += 1
        line = file.readline(MAX_LINE_BYTES + 1)
        try:
            record = decode(_whole(line))
            _follow(proof, record)
            if record.event == SIGNING:
                _check_signature(proof, trust, record)
            trust.hear(record)
        except ValueError as error:
            proof.broken = Broken(name, number, str(error))
            return
        if record.event == REPAIR:
            proof.repairs = (*proof.repairs, record.seq)
        proof.records += 1
        proof.head = Link(record.seq, record.hash, record.event)


def _whole(line: bytes) -> bytes:
    if not line.endswith(b"\n"):
        raise ValueError("it was cut short")
    return line[:-1]


def _follow(proof: Proof, record: AuditRecord) -> None:
    if not proof.records:
        proof.first = record.seq
        if record.seq == 1 and record.previous != GENESIS:
            raise ValueError("it is number 1 and yet follows another record")
    elif record.seq != proof.head.seq + 1:
        raise ValueError(f"it is number {record.seq}, and {proof.head.seq + 1} was to come")
    elif record.previous != proof.head.hash:
        raise ValueError("it does not follow the record before it")


def _check_signature(proof: Proof, trust: Trust, record: AuditRecord) -> None:
    subject = trust.check(record)
    proof.signatures += 1
    proof.signed_through = record.seq - 1
    if subject not in proof.signers:
        proof.signers = (*proof.signers, subject)

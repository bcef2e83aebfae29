"""The files of one audit log: `audit.jsonl` grows; rotated ones are `audit-000000000001.jsonl`, by their first record.

The names sort as the chain runs.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

_TAIL_BYTES = 8192


def rotated_name(path: Path, first_seq: int) -> Path:
    """Where the file at `path` goes whose first record is `first_seq`."""
    return path.with_name(f"{path.stem}-{first_seq:012d}{path.suffix}")


def lock_file(path: Path) -> Path:
    """Whoever appends to the log at `path` holds this file's lock."""
    return path.with_suffix(".lock")


def rotated_files(path: Path) -> list[Path]:
    """The rotated files of the log at `path`, oldest first."""
    pattern = re.compile(re.escape(path.stem) + r"-\d{12,}" + re.escape(path.suffix))
    if not path.parent.is_dir():
        return []
    rotated = [one for one in path.parent.iterdir() if pattern.fullmatch(one.name)]
    return sorted(rotated, key=lambda one: (len(one.name), one.name))


def log_files(path: Path) -> list[Path]:
    """All files of the log at `path`, oldest first, the one that grows last."""
    return [*rotated_files(path), *([path] if path.exists() else [])]


def last_line(descriptor: int) -> tuple[bytes, bytes]:
    """The last whole line of a file without its newline, and what stands behind it: a line that was cut short."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    size = _TAIL_BYTES
    while True:
        start = max(0, end - size)
        tail = os.pread(descriptor, end - start, start)
        whole, newline, torn = tail.rpartition(b"\n")
        if newline:
            before = whole.rfind(b"\n")
            if before >= 0 or start == 0:
                return whole[before + 1 :], torn
        elif start == 0:
            return b"", tail
        size *= 8


def lines_backwards(path: Path) -> Iterator[bytes]:
    """The whole lines of a file without their newlines, last first; a line that was cut short is left out."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            end = content.rfind(b"\n")
            while end >= 0:
                start = content.rfind(b"\n", 0, end)
                yield content[start + 1 : end]
                end = start

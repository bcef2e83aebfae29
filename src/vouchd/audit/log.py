"""The audit log: one JSON object a line, chained by hashes, appended and on disk before the call returns.

Every field is escaped by JSON, so no value can begin a line of its own. The form of a line is in `audit.chain`, the
signatures that make the chain a proof in `audit.signing`.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vouchd.audit.chain import Entry, Link, decode, encode, is_traffic
from vouchd.audit.log_files import last_line, lock_file, log_files, rotated_files, rotated_name
from vouchd.audit.selection import Selection
from vouchd.core.facts import Caller
from vouchd.core.ports import Clock
from vouchd.errors import StoreUnavailable
from vouchd.files import sync_folder
from vouchd.locks import acquire

REPAIR = "AUDIT_LOG_REPAIR"  # ours: the Certificate System has no word for it
ITSELF = Caller("vouchd")
_SHOWN_TORN_BYTES = 2000
_NOTE = re.compile(rb"(\d{18}) ([0-9a-f]{64})\n")
_NOTE_BYTES = 84
_FIRST = re.compile(rb'\{"seq":(\d{1,18}),"time":(\d{1,18}),')

Compose = Callable[[Link], Sequence[Entry]]


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is put aside and another begun; the chain runs on from one to the next. 0: never."""

    max_bytes: int = 2000 * 1024
    max_age_seconds: int = 30 * 86400  # since its first record

    def is_due(self, size_bytes: int, age_seconds: int) -> bool:
        """Whether a file of that size and age is put aside."""
        return 0 < self.max_bytes <= size_bytes or 0 < self.max_age_seconds <= age_seconds


class AuditLog:
    """Keeps the contract of AuditSink in the file `path` (mode 0600); any number of processes may append to it.

    A lock file beside it keeps the order of the chain and says which record was written last. A log whose end is not
    that record any more, as a file was taken away or exchanged, is never begun anew: nothing is recorded until it is
    back, or an operator removes the lock file. A line that was cut short by a crash was never acknowledged: it
    is taken out, and a record tells of it.
    """

    def __init__(
        self, path: Path, clock: Clock, rotation: Rotation | None = None, selection: Selection | None = None
    ) -> None:
        """Of what is recorded only what `selection` wants is written; all without one."""
        self._path = path
        self._selection = selection or Selection()
        self._clock = clock
        self._rotation = rotation or Rotation()
        self.end = Link()  # of the chain, as this object saw it last
        self.weighty = 0  # `seq` of the newest record that is more than traffic
        self.file: tuple[int, int] = (0, 0)  # device and inode of the file that grows, as it was written last

    @property
    def path(self) -> Path:
        """The file that grows."""
        return self._path

    def record(self, event: str, caller: Caller, outcome: str, **detail: str | int) -> None:
        """See AuditSink. Raises: StoreUnavailable when the record is not on disk."""
        self.record_all([Entry(self._clock.now(), event, outcome, caller, detail)])

    def record_all(self, entries: Sequence[Entry]) -> None:
        """Record several at once, at the price of one. Raises: StoreUnavailable; then none of them is recorded."""
        wanted = [entry for entry in entries if self._selection.wants(entry)]
        if wanted:
            self.extend(lambda _: wanted)

    def extend(self, compose: Compose) -> Link:
        """Append what `compose` makes of the end of the chain; returns the new end. Raises: StoreUnavailable."""
        try:
            with self._locked() as lock:
                known = max(self.end, _noted(lock), key=lambda link: link.seq)
                self._rotate_when_due()
                self.end = self._append(compose, known)
                _note(lock, self.end)
                return self.end
        except OSError as error:
            raise StoreUnavailable(
                f"the audit log {self._path} cannot be written: {error.strerror}",
                hint="no administrative act is carried out without its record; free space or mend the permissions",
            ) from error

    def delete_before(self, at: int) -> None:
        """Delete the files that were put aside and hold nothing younger than POSIX time `at`; each is recorded first.

        The newest of them stays: the chain goes on from it. Raises: StoreUnavailable.
        """
        for path in rotated_files(self._path)[:-1]:
            with path.open("rb") as file:
                line, _ = last_line(file.fileno())
            match = _FIRST.match(line)
            if match is None or int(match[2]) >= at:
                return  # what is damaged is not ours to take away, and what follows is younger
            self.record("AUDIT_LOG_DELETE", ITSELF, "success", file=path.name, through=int(match[1]))
            path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the lock of the log, a descriptor of its file; closing that releases it."""
        lock = os.open(lock_file(self._path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            acquire(lock, "writing the audit log")
            yield lock
        finally:
            os.close(lock)

    def _rotate_when_due(self) -> None:
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                first = _FIRST.match(file.read(64))
        except FileNotFoundError:
            return
        if first is None:
            return
        if self._rotation.is_due(size, self._clock.now() - int(first[2])):
            self._path.rename(rotated_name(self._path, int(first[1])))
            sync_folder(self._path.parent)

    def _append(self, compose: Compose, known: Link) -> Link:
        created = not self._path.exists()
        if created:  # before there is a new file to be taken for the log
            self._require(known, _link(self._last_line_before())[0])
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(descriptor)
            self.file = (status.st_dev, status.st_ino)
            link = self._mend(descriptor, known)
            if link.seq != self.end.seq:  # others wrote, who do so for acts only; or a repair
                self.weighty = link.seq
            entries = compose(link)
            link = _write_entries(descriptor, entries, link)
            if not all(is_traffic(entry) for entry in entries):
                self.weighty = link.seq
        finally:
            os.close(descriptor)
        if created:
            sync_folder(self._path.parent)
        return link

    def _mend(self, descriptor: int, known: Link) -> Link:
        """Where the chain goes on; damage at the end of the log is recorded."""
        line, torn = last_line(descriptor)
        line = line or self._last_line_before()
        link, why = _link(line)
        if not why and not (torn and link.seq == known.seq - 1):
            self._require(known, link)
        repairs = []
        if torn:
            os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_END) - len(torn))
        if torn:
            repairs.append(self._repair("the last line was cut short", torn))
        if why:  # not ours to take out: whoever verifies the log is to find it
            repairs.append(self._repair(f"the last line is damaged: {why}", line))
        return _write_entries(descriptor, repairs, link)

    def _require(self, known: Link, link: Link) -> None:
        """Return when a log that ends with `link` still has the record `known`. Raises: StoreUnavailable."""
        if link.seq > known.seq or (link.seq, link.hash) == (known.seq, known.hash):
            return
        lock = lock_file(self._path)
        raise StoreUnavailable(
            f"the audit log {self._path} does not go on from its last record: {known.seq} was written, it ends with "
            + (f"{link.seq}" if link.seq < known.seq else "another one of that number"),
            hint=f"put back what was taken away; if it is lost, stop the instance, remove {lock} and start it",
        )

    def _last_line_before(self) -> bytes:
        """The last line of the newest file that holds one."""
        for path in reversed(log_files(self._path)):
            with path.open("rb") as file:
                line, _ = last_line(file.fileno())
            if line:
                return line
        return b""

    def _repair(self, why: str, text: bytes) -> Entry:
        shown = text[:_SHOWN_TORN_BYTES].decode("ascii", "backslashreplace")
        return Entry(self._clock.now(), REPAIR, "success", ITSELF, {"why": why, "bytes": len(text), "text": shown})


def _noted(lock: int) -> Link:
    """The record that was written last, as the lock file says; number 0 where it says nothing."""
    match = _NOTE.fullmatch(os.pread(lock, _NOTE_BYTES, 0))
    return Link(int(match[1]), match[2].decode()) if match else Link()


def _note(lock: int, link: Link) -> None:
    """Say in the lock file which record was written last; an older note claims less, and does no harm."""
    with suppress(OSError):
        os.pwrite(lock, f"{link.seq:018d} {link.hash}\n".encode(), 0)


def _link(line: bytes) -> tuple[Link, str]:
    """Where the chain goes on after `line`, and what is wrong with it."""
    if not line:
        return Link(), ""
    try:
        last = decode(line)
    except ValueError as error:
        match = re.match(rb'\{"seq":(\d{1,18}),', line)
        return Link(int(match[1]) if match else 0), str(error)
    return Link(last.seq, last.hash, last.event), ""


def _write_entries(descriptor: int, entries: Sequence[Entry], link: Link) -> Link:
    """Append the entries after `link`; returns the link that the last one makes."""
    lines = []
    for entry in entries:
        line, link = encode(entry, link)
        lines.append(line)
    _write(descriptor, b"".join(lines))
    return link


def _write(descriptor: int, data: bytes) -> None:
    """Append and have it on disk, or leave the file as it was."""
    if not data:
        return
    end = os.lseek(descriptor, 0, os.SEEK_END)
    try:
        written = os.write(descriptor, data)
        if written == len(data):
            os.fsync(descriptor)
            return
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, end)
        raise
    os.ftruncate(descriptor, end)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

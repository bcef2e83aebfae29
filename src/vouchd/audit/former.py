"""The audit log of the Certificate System whose place this instance took: kept beside ours as it came, and searched.

Its files are copied byte for byte into a folder of their own. Nothing of them is written into our chain as if we had
seen it: the chain has one AUDIT_LOG_IMPORT record of each file, with its size and SHA-256, and so proves from then on
that the file is what came. What happened before is its own to prove: signatures that it made stand in it.

A file is kept under the time and the hash of its first line. So it is known again when it has grown, or was put aside
under another name, and a copy that does not go on from the kept one is refused.
"""

from __future__ import annotations

import calendar
import hashlib
import io
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vouchd.audit.search import MAX_LIMIT, AuditQuery, AuditReader
from vouchd.core.facts import Caller
from vouchd.core.ports import AuditSink
from vouchd.errors import AlreadyExists, ConfigError
from vouchd.files import read_file, replacing

IMPORT = "AUDIT_LOG_IMPORT"  # ours: the Certificate System has no word for it
MAX_BYTES = 1 << 28  # of one file; a Certificate System begins another after 2,000 KiB unless set
_MAX_MESSAGE = 1 << 16
_LINE = re.compile(
    r"\d+\..{0,200}? - \[(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4}):"
    r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d) (?P<zone>[A-Za-z0-9:+-]{1,10})\] \[\d+\] \[\d+\] "
    r"(?P<message>.*)"
)
_FACT = re.compile(r"\[(\w{1,80})=((?:[^][]|\[[^][]*\])*)\]")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OFFSET = re.compile(r"(?:GMT|UTC)?([+-])(\d{1,2}):?(\d\d)?")
_EAST = {"WEST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3, "JST": 9}
_WEST = {"EST": 5, "EDT": 4, "CST": 6, "CDT": 5, "MST": 7, "MDT": 6, "PST": 8, "PDT": 7}
_HOURS = _EAST | {zone: -hours for zone, hours in _WEST.items()}


@dataclass(frozen=True, slots=True)
class FormerRecord:
    """One record of the former log; `time` is POSIX seconds, `line` where it begins in the kept `file`."""

    file: str
    line: int
    time: int
    event: str
    outcome: str
    caller: str
    detail: Mapping[str, str]
    text: str

    def matches(self, query: AuditQuery) -> bool:
        """Whether it is asked for, as a record of our own is."""
        if not (query.since or 0) <= self.time <= (self.time if query.until is None else query.until):
            return False
        wanted = ((query.event, self.event), (query.outcome, self.outcome), (query.caller, self.caller))
        if any(expected and expected.casefold() != actual.casefold() for expected, actual in wanted):
            return False
        values = (self.caller, self.text, *self.detail.values())
        return any(query.text.casefold() in value.casefold() for value in values)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """What became of one file of it; not `new`: all of it was kept before."""

    source: str
    name: str
    bytes: int
    records: int
    sha256: str
    new: bool


@dataclass(frozen=True, slots=True)
class Unlike:
    """Kept files that are not what our chain says of them: changed or lost since, or named by no record."""

    changed: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FormerLog:
    """The kept files in `folder`, which is made with the first of them."""

    folder: Path

    @classmethod
    def beside(cls, log: Path) -> FormerLog:
        """That of the instance whose own log is the file `log`."""
        return cls(log.with_name("former-audit"))

    def take(self, sources: Iterable[Path], audit: AuditSink, caller: Caller) -> tuple[KeptFile, ...]:
        """Keep files of such a log, or all in a folder; each that is new is recorded. It may be done again.

        Raises: ConfigError for what is no such log; AlreadyExists where a kept one goes on otherwise; StoreUnavailable.
        """
        return tuple(self._take(source, audit, caller) for source in _files(sources))

    def search(self, query: AuditQuery, *, skip: int = 0, limit: int = 100) -> tuple[FormerRecord, ...]:
        """At most `limit` records that match, newest first, after `skip` of them. Raises: StoreUnavailable."""
        newest: deque[FormerRecord] = deque(maxlen=skip + min(limit, MAX_LIMIT))
        newest.extend(one for one in self._records() if one.matches(query))
        return tuple(reversed(newest))[skip:]

    def unlike(self, reader: AuditReader) -> Unlike:
        """What the chain does not bear out, by the newest record of each file. Raises: StoreUnavailable."""
        imports = reader.search(AuditQuery(event=IMPORT), limit=MAX_LIMIT)
        recorded = {str(one.detail.get("file")): str(one.detail.get("sha256")) for one in reversed(imports)}
        kept = {path.name: _digest(read_file(path, MAX_BYTES)) for path in self._kept()}
        return Unlike(
            tuple(name for name, digest in kept.items() if recorded.get(name, digest) != digest),
            tuple(sorted(recorded.keys() - kept.keys())),
            tuple(sorted(kept.keys() - recorded.keys())),
        )

    def _take(self, source: Path, audit: AuditSink, caller: Caller) -> KeptFile:
        data = _contents(source)
        records = list(_parsed("", io.BytesIO(data)))
        if not records or records[0].line != 1:
            raise ConfigError(
                f"{source}: no audit log of a Certificate System",
                hint="/var/log/pki/INSTANCE/ocsp/signedAudit holds its files",
            )
        begin = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(records[0].time))
        first_line = data.partition(b"\n")[0]
        name = f"{begin}-{_digest(first_line)[:16]}.log"
        path = self.folder / name
        before = read_file(path, MAX_BYTES) if path.exists() else b""
        if not data.startswith(before):
            raise AlreadyExists(
                f"{source}: does not go on from what is kept of it in {path}", hint="one of the two was changed"
            )
        kept = KeptFile(source.name, name, len(data), len(records), _digest(data), data != before)
        if kept.new:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            with replacing(path) as file:
                file.write(data)
                facts: dict[str, str | int] = {"bytes": kept.bytes, "records": kept.records, "sha256": kept.sha256}
                audit.record(IMPORT, caller, "success", source=source.name, file=name, **facts)
        return kept

    def _records(self) -> Iterator[FormerRecord]:
        for path in self._kept():
            yield from _parsed(path.name, io.BytesIO(read_file(path, MAX_BYTES)))

    def _kept(self) -> list[Path]:
        """Oldest first: the names begin with the time of the first record."""
        return sorted(self.folder.glob("*.log"))


def _files(sources: Iterable[Path]) -> Iterator[Path]:
    for source in sources:
        if source.is_dir():
            yield from sorted(one for one in source.iterdir() if one.is_file() and not one.name.startswith("."))
        else:
            yield source


def _contents(source: Path) -> bytes:
    try:
        return read_file(source, MAX_BYTES, error=ConfigError)
    except FileNotFoundError as error:
        raise ConfigError(f"{source}: there is no such file") from error


def _parsed(file: str, lines: Iterable[bytes]) -> Iterator[FormerRecord]:
    """The records in the lines; a line that begins none belongs to the message before it."""
    begin, head, message = 0, None, list[str]()
    for number, line in enumerate(lines, 1):
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        match = _LINE.match(text)
        if match is None:
            message.append(text)
            continue
        if head is not None:
            yield _record(file, begin, head, message)
        begin, head, message = number, match, [match["message"]]
    if head is not None:
        yield _record(file, begin, head, message)


def _record(file: str, line: int, head: re.Match[str], message: Sequence[str]) -> FormerRecord:
    whole = "\n".join(message)[:_MAX_MESSAGE]
    facts = dict(_FACT.findall(whole))
    event, outcome = facts.pop("AuditEvent", ""), facts.pop("Outcome", "").lower()
    caller = facts.pop("SubjectID", "")
    return FormerRecord(file, line, _moment(head), event, outcome, caller, facts, _FACT.sub("", whole).strip())


def _moment(head: re.Match[str]) -> int:
    """POSIX seconds; a zone that nobody here knows counts as UTC."""
    month = _MONTHS.index(head["month"]) + 1 if head["month"] in _MONTHS else 1
    fields = (int(head["year"]), month, *(int(head[name]) for name in ("day", "hour", "minute", "second")))
    if offset := _OFFSET.fullmatch(head["zone"]):
        seconds = int(offset[2]) * 3600 + int(offset[3] or 0) * 60
        return calendar.timegm(fields) - (seconds if offset[1] == "+" else -seconds)
    return calendar.timegm(fields) - _HOURS.get(head["zone"], 0) * 3600


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

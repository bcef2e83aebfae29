"""The instance report: ONE state of the running instance, from which all that shows it is made.

Readiness checks, metrics, REST, `vouchd status` and the pages are functions of it. The manager process also writes it
to a small file of JSON lines whenever something in it changes, for other processes: `vouchd crl add` waits on it. The
file grows by whole lines and is replaced by rename, so a reader sees a whole report or none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import IO, Any, get_args, get_type_hints

import msgspec

from vouchd.audit.keeping import AuditState
from vouchd.core.facts import Epoch, IssuingPointId, QuarantinedCRL
from vouchd.core.records import rfc3339
from vouchd.files import PUBLIC, extend_file, open_file, replacing
from vouchd.instance.backups import BackupRecord
from vouchd.instance.refusals import RefusedCRL
from vouchd.pkix.purposes import Validity
from vouchd.service.pulling import SourceState
from vouchd.service.selftests import SelfTestResult

SKEW_SECONDS = 10  # of another member's clock: more than a question may take on its way
LAG_SECONDS = 60  # of a directory server: more than changes are under way while it is only busy
_MAX_BYTES = 256 << 20  # 10,000 CAs take some 10 MiB
_LONG = ("issuing_points", "certificates", "labels")  # a row a CA, or more
_ROWS = 100
_LEAST_OCTETS = 1 << 16  # of lines, before the file is begun anew for them
_DAMAGED = (msgspec.MsgspecError, KeyError, IndexError)  # or of another version of this program
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  where the instance is asked, not bound


@dataclass(frozen=True, slots=True)
class ServedPoint:
    """One CRL issuing point as the workers serve it; numbers and times are of its newest CRL."""

    authority_id: str
    scope_id: str
    label: str
    sequence: int
    crl_number: int | None
    this_update: int
    next_update: int | None
    accepted_at: int
    entries: int
    index_bytes: int

    @classmethod
    def of(cls, epoch: Epoch, label: str, entries: int, index_bytes: int) -> ServedPoint:
        """The point that `epoch` is the present state of."""
        point = epoch.issuing_point
        return cls(
            point.authority_id,
            point.scope_id,
            label,
            epoch.sequence,
            epoch.newest.crl_number,
            epoch.this_update,
            epoch.next_update,
            epoch.accepted_at,
            entries,
            index_bytes,
        )


@dataclass(frozen=True, slots=True)
class HeldCRL:
    """A CRL in quarantine: of which CA, whence and when it came, and why it is held back."""

    authority_id: str
    scope_id: str
    label: str
    crl_number: int | None
    received_at: int
    origin: str
    why: str

    @classmethod
    def of(cls, crl: QuarantinedCRL, label: str) -> HeldCRL:
        """What is shown of it."""
        point = crl.issuing_point
        number = crl.record.crl_number
        return cls(point.authority_id, point.scope_id, label, number, crl.received_at, crl.origin, crl.why)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """One worker process; `loaded` is the manifest version it answers from (0: none yet).

    `confined`: it can open nothing of the instance but the indexes.
    """

    slot: int
    pid: int
    loaded: int
    confined: bool = False


@dataclass(frozen=True, slots=True)
class MemberReport:
    """Another member of the set as it was seen last (POSIX seconds, None: never).

    `lags` are of the issuing points where it differs from this instance, (authority id, scope id, seconds): for how
    long it has had an older CRL, or a newer one (negative); `crls` are the numbers of those that it answers from, as it
    told last, where they are others than those of this instance now, (authority id, scope id, CRL number); `lacking`
    are the points, (authority id, scope id), for which it has none. `skew_seconds`: its clock before ours. `error`
    tells why it is not reachable.
    """

    id: str
    role: str
    reachable: bool
    seen_at: int | None = None
    skew_seconds: int = 0
    lags: tuple[tuple[str, str, int], ...] = ()
    error: str = ""
    crls: tuple[tuple[str, str, int | None], ...] = ()
    lacking: tuple[tuple[str, str], ...] = ()

    def crl_numbers(self, points: Iterable[ServedPoint]) -> dict[tuple[str, str], int | None]:
        """The numbers of the CRLs that it answers from, by ids of authority and scope, where we have these `points`."""
        if self.seen_at is None:
            return {}
        numbers = {(point.authority_id, point.scope_id): point.crl_number for point in points}
        for authority, scope in self.lacking:
            numbers.pop((authority, scope), None)
        return numbers | {(authority, scope): number for authority, scope, number in self.crls}


@dataclass(frozen=True, slots=True)
class ServerReport:
    """The directory server of another member, seen from this instance's own.

    `state` is green (it has all changes), amber (some are under way) or red (they do not flow; `why` and `hint` tell
    more). `lag_seconds` is the age of the newest change that it lacks, None when it could not be asked; `ahead`: it has
    changes that are not here. `code` is the error of the last attempt to send to it (0: none), `sent_at` when that was.
    """

    member: str
    server: str
    state: str
    lag_seconds: int | None = None
    ahead: bool = False
    code: int = 0
    sent_at: int | None = None
    why: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class ReplicationReport:
    """How the directory servers of the set replicated at POSIX time `at`.

    `conflicts` counts entries that two servers made at one time; `stale_replicas` are ids of servers that left the set
    and were not cleaned up.
    """

    at: int
    servers: tuple[ServerReport, ...] = ()
    conflicts: int = 0
    stale_replicas: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RenewalReport:
    """A certificate that renews itself: by whom it is certified (`way`), and when (POSIX; None: not known).

    `why` tells why the last attempt failed, `waiting` what the next certificate, which has come, waits for.
    """

    name: str
    way: str
    due_at: int | None = None
    why: str = ""
    waiting: str = ""

    def __str__(self) -> str:
        when = f" at {rfc3339(self.due_at)}" if self.due_at is not None else ""
        trouble = f", but: {self.why}" if self.why else f"; the next one is {self.waiting}" if self.waiting else ""
        return f"renews itself{when} (by={self.way}){trouble}"


@dataclass(frozen=True, slots=True)
class RefusedPoint:
    """An issuing point of which the store has another CRL than the one that is served, and why that is not served."""

    authority_id: str
    scope_id: str
    label: str
    why: str


@dataclass(frozen=True, slots=True)
class UncoveredCA:
    """A CA whose CRLs leave certificates unknown that they do not list, and the line that mends it."""

    label: str
    notice: str
    mend: str


@dataclass(frozen=True, slots=True)
class FailingPart:
    """A part that cannot be used, and why; `ca` is the label of the CA that is answered tryLater for it, if it is one.

    All else goes on.
    """

    part: str
    cause: str
    ca: str = ""


@dataclass(frozen=True, slots=True)
class WaitingSigner:
    """A signer that the set does not switch to yet, which member is in the way (empty: this one, alone), and why."""

    signer: str
    member: str
    why: str

    def __str__(self) -> str:
        return f"{self.signer} at {self.member or 'this instance'}: {self.why}"


@dataclass(frozen=True, slots=True)
class WaitingApproval:
    """An operation that `requester` asked for and that waits for a second agent, until POSIX seconds `expires_at`."""

    id: str
    operation: str
    requester: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class TokenReport:
    """A token that keys are on, as the manager process sees it: its sessions there, and of how many.

    `problem` is why it cannot be used now (empty: it can, as far as is known), `failure` what failed last, at POSIX
    seconds `failed_at` (0: nothing has since the start).
    """

    label: str
    module: str
    sessions: int
    most_sessions: int
    problem: str = ""
    failed_at: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class AlertReport:
    """An alert that was raised: of which condition, about what, how grave, since when (POSIX seconds)."""

    condition: str
    subject: str
    severity: str
    since: int
    words: str


@dataclass(frozen=True, slots=True)
class CarrierReport:
    """A carrier of alerts: notices that have arrived, attempts that failed, what waits, what was given up.

    `error` is that of the last attempt, empty when it succeeded.
    """

    name: str
    sent: int = 0
    failures: int = 0
    waiting: int = 0
    lost: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """State of the instance; `version` is the serving manifest's, 0 before the first one.

    `revision` is the store's revision that it was made from. `acknowledged` says that every living worker answers from
    `version`. `store_error` is empty while the store can be reached. `ee`,
    `health` and `agent` are (address, port), the last one None while the agent port is off. `halting` tells what
    keeps all workers from answering, `halted` the same once they have heeded it; empty: they answer.
    `refusals` counts the restarts that this process refused, `refused` says why it did the last time. `sources` are
    without their validators, `certificates` are the instance's own by name, `selftests` the newest result of each.
    `members` are the other ones of the set; `behind` the labels of the CAs of which one of them has had a newer CRL
    for too long; `upkeep` the work for the set that fails, (name, error); `replication` how the directory servers
    replicate, None where there are none or this is not known. `index_repairs` counts the index files that were damaged
    and made again. `unverified` are the issuing points of which the store has a CRL that this member does not serve,
    `uncovered` the CAs whose CRLs do not speak for every certificate.
    `labels` are those of the CAs, by id; `quarantined` the CRLs that are held back; `refused_crls` the
    last one of each CA that was not taken, whether or not one was taken since. `failing` are the parts that cannot be
    used, `waiting_signers` the signers that the set does not switch to yet, `waiting_approvals` what waits for a second
    agent (at the master), `renewals` the certificates that renew themselves. `backup` is the last whole backup,
    `alerts` are those that stand, `carriers` who carries them. `tokens` are those that the keys of signers are on.
    `proved` tells how many CAs have been proved since the start, whether or not they passed, of how many `to_prove`.
    """

    pid: int
    started_at: int
    ee: tuple[str, int]
    health: tuple[str, int]
    version: int = 0
    acknowledged: bool = False
    issuing_points: tuple[ServedPoint, ...] = ()
    workers: tuple[WorkerReport, ...] = ()
    restarts: int = 0
    store_error: str = ""
    sources: tuple[SourceState, ...] = ()
    agent: tuple[str, int] | None = None
    halted: str = ""
    halting: str = ""
    refusals: int = 0
    refused: str = ""
    certificates: tuple[tuple[str, Validity], ...] = ()
    selftests: tuple[SelfTestResult, ...] = ()
    audit: AuditState = field(default_factory=AuditState)
    members: tuple[MemberReport, ...] = ()
    behind: tuple[str, ...] = ()
    failing: tuple[FailingPart, ...] = ()
    waiting_signers: tuple[WaitingSigner, ...] = ()
    waiting_approvals: tuple[WaitingApproval, ...] = ()
    upkeep: tuple[tuple[str, str], ...] = ()
    replication: ReplicationReport | None = None
    index_repairs: int = 0
    unverified: tuple[RefusedPoint, ...] = ()
    uncovered: tuple[UncoveredCA, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    quarantined: tuple[HeldCRL, ...] = ()
    refused_crls: tuple[RefusedCRL, ...] = ()
    revision: int = -1
    backup: BackupRecord = field(default_factory=BackupRecord)
    alerts: tuple[AlertReport, ...] = ()
    carriers: tuple[CarrierReport, ...] = ()
    tokens: tuple[TokenReport, ...] = ()
    renewals: tuple[RenewalReport, ...] = ()
    proved: int = 0
    to_prove: int = 0

    def renewal(self, name: str) -> RenewalReport | None:
        """How the certificate of that name renews itself, None: it does not."""
        return next((one for one in self.renewals if one.name == name), None)

    def ending(self, name: str, validity: Validity, now: int) -> str:
        """Words on a certificate that is not plainly valid, and on what it does about that itself; else empty."""
        words, renewal = validity.warning(now), self.renewal(name)
        return f"{words}; it {renewal}" if words and renewal else words

    @property
    def starting(self) -> str:
        """How far the proof of the start is; empty: all CAs are proved."""
        return f"{self.proved:,} of {self.to_prove:,} CAs proved" if self.proved < self.to_prove else ""

    @property
    def workers_ready(self) -> int:
        """How many workers answer from the current manifest."""
        return sum(worker.loaded == self.version for worker in self.workers) if self.version else 0

    @property
    def ee_url(self) -> str:
        """Where this host asks for OCSP answers."""
        host, port = self.ee
        host = _LOOPBACK.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def serves(self, issuing_point: IssuingPointId, sequence: int) -> bool:
        """Whether every living worker answers from epoch `sequence` of the issuing point, or a later one."""
        return ServedPoints(self).serves(issuing_point, sequence)

    def serves_all(self, epochs: Iterable[Epoch]) -> bool:
        """The same of all these epochs."""
        points = ServedPoints(self)
        return all(points.serves(epoch.issuing_point, epoch.sequence) for epoch in epochs)


_NAMES = tuple(one.name for one in fields(InstanceReport))


class ServedPoints:
    """The issuing points of a report, to be looked up many at a time."""

    def __init__(self, report: InstanceReport) -> None:
        self._acknowledged = report.acknowledged
        self._points = {(point.authority_id, point.scope_id): point for point in report.issuing_points}

    def point(self, issuing_point: IssuingPointId) -> ServedPoint | None:
        """What is served of it."""
        return self._points.get((issuing_point.authority_id, issuing_point.scope_id))

    def serves(self, issuing_point: IssuingPointId, sequence: int) -> bool:
        """See InstanceReport."""
        point = self.point(issuing_point)
        return self._acknowledged and point is not None and point.sequence >= sequence


class ReportFile:
    """The file at `path` (0644: it holds no secret) as the one process that writes it sees it.

    With ten thousand CAs the long lists of a report are four million octets, of which one CRL changes a line. So the
    file has a whole report in its first line, with the moment at which it was begun, and in each line after that what
    the next report has otherwise, with the same moment. A line without a line feed is not there yet. When the lines
    have become as long as the whole the file is begun anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: InstanceReport | None = None  # None: the file is to be begun
        self._begun = self._size = self._inode = self._limit = 0

    def write(self, report: InstanceReport) -> None:
        """Have the file say it; nothing is durable, as the next start writes it anew. Raises: StoreUnavailable."""
        before, self._written = self._written, None
        change = None if before is None or self._size > self._limit else _Change.between(self._begun, before, report)
        if change is None:
            self._begin(report)
        else:
            line = msgspec.json.encode(change) + b"\n"
            extend_file(self._path, line, self._size, self._inode, durable=False)
            self._size += len(line)
        self._written = report

    def _begin(self, report: InstanceReport) -> None:
        self._begun = time.time_ns()
        with replacing(self._path, PUBLIC, durable=False) as file:
            others = {name: getattr(report, name) for name in _NAMES if name not in _LONG} | {"begun": self._begun}
            file.write(msgspec.json.encode(others)[:-1])
            for name in _LONG:
                rows = getattr(report, name)
                blocks = (rows[first : first + _ROWS] for first in range(0, len(rows), _ROWS))  # not all at once
                file.write(b',"%b":[' % name.encode())
                for number, block in enumerate(blocks):
                    file.write(b"," * bool(number) + msgspec.json.encode(block)[1:-1])
                file.write(b"]")
            file.write(b"}\n")
            file.flush()
            status = os.fstat(file.fileno())
        self._size, self._inode = status.st_size, status.st_ino
        self._limit = self._size + max(self._size, _LEAST_OCTETS)


class _Whole(msgspec.Struct, frozen=True):
    """What the first line of the file has beside the report: when it was begun, nanoseconds."""

    begun: int = 0


class _Change(msgspec.Struct, frozen=True):
    """What a report has otherwise than the one before: fields by name, and rows of long lists by name and place.

    `of` is when the file was begun.
    """

    of: int
    fields: dict[str, msgspec.Raw]
    rows: dict[str, dict[int, msgspec.Raw]]

    @classmethod
    def between(cls, begun: int, before: InstanceReport, after: InstanceReport) -> _Change | None:
        """That; None when a long list has more or fewer rows."""
        if any(len(getattr(before, name)) != len(getattr(after, name)) for name in _LONG):
            return None
        pairs = {name: (getattr(before, name), getattr(after, name)) for name in _NAMES}
        changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        return cls(
            begun,
            {name: _raw(new) for name, (_, new) in changed.items() if name not in _LONG},
            {name: dict(_changed_rows(*pair)) for name, pair in changed.items() if name in _LONG},
        )


def _changed_rows(before: tuple[object, ...], after: tuple[object, ...]) -> Iterator[tuple[int, msgspec.Raw]]:
    """The rows that are other ones, by their places in lists of one length; most blocks are the same."""
    for first in range(0, len(after), _ROWS):
        old, new = before[first : first + _ROWS], after[first : first + _ROWS]
        if old != new:
            for place, (was, row) in enumerate(zip(old, new, strict=True), first):
                if was != row:
                    yield place, _raw(row)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def write_report(path: Path, report: InstanceReport) -> None:
    """Replace the report file once. Raises: StoreUnavailable."""
    ReportFile(path).write(report)


class ReportReader:
    """The file at `path` as somebody sees it who looks again and again: when it has grown the new lines are read.

    A start with ten thousand CAs is looked at for seconds, and to read all of its report takes a twentieth of one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._report: InstanceReport | None = None
        self._begun = self._size = 0  # of the whole lines that were read
        self._seen = (0, 0, 0)

    def read(self) -> InstanceReport | None:
        """The report, None when there is none or it is of another version of this program. Raises: StoreUnavailable."""
        try:
            with open_file(self._path, _MAX_BYTES) as file:
                status = os.fstat(file.fileno())
                seen = status.st_ino, status.st_size, status.st_mtime_ns
                if self._report is not None and seen != self._seen:
                    grows = seen[0] == self._seen[0] and seen[1] > self._size and self._takes_up(file)
                    self._report = self._report if grows else None
                if self._report is None:
                    self._size = 0
                    self._take(file)
                self._seen = seen
        except (FileNotFoundError, *_DAMAGED):
            self._report = None
        return self._report

    def _takes_up(self, file: IO[bytes]) -> bool:
        """Whether the file goes on where it was left: the number of one that is gone may be that of a new one."""
        try:
            self._take(file)
        except _DAMAGED:
            return False
        return True

    def _take(self, file: IO[bytes]) -> None:
        """Take in the lines that were not read yet; one that has no end yet is left. Raises: those of _DAMAGED."""
        file.seek(self._size)
        *lines, rest = file.read(_MAX_BYTES).split(b"\n")
        if self._report is None:
            whole, *lines = lines or [rest]  # earlier versions wrote a whole one without a line feed
            report = msgspec.json.decode(whole, type=InstanceReport)
            begun, size = msgspec.json.decode(whole, type=_Whole).begun, len(whole) + 1
        else:
            begun, report, size = self._begun, self._report, self._size
        self._report = _changed(report, begun, lines)
        self._begun, self._size = begun, size + sum(map(len, lines)) + len(lines)


def read_report(path: Path) -> InstanceReport | None:
    """The same, read once. Raises: StoreUnavailable."""
    return ReportReader(path).read()


def _changed(report: InstanceReport, begun: int, lines: Iterable[bytes]) -> InstanceReport:
    """The report after these lines of the file that was begun then. Raises: those of _DAMAGED."""
    others, rows = dict[str, Any](), dict[str, list[object]]()
    for line in lines:
        change = msgspec.json.decode(line, type=_Change)
        if change.of != begun:
            raise IndexError("lines of another file")
        for name, value in change.fields.items():
            others[name] = msgspec.json.decode(value, type=_types()[name])
        for name, changed in change.rows.items():
            row_type, _ = get_args(_types()[name])
            of_name = rows.setdefault(name, list(getattr(report, name)))
            for place, row in changed.items():
                of_name[place] = msgspec.json.decode(row, type=row_type)
    others |= {name: tuple(changed) for name, changed in rows.items()}
    return replace(report, **others)


@cache
def _types() -> dict[str, Any]:
    """Of the fields of a report."""
    return get_type_hints(InstanceReport)


def remove_report(path: Path) -> None:
    """Take the report away: nothing is served any more."""
    path.unlink(missing_ok=True)

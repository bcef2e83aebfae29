"""THE table of conditions: what is wrong, how grave, how long it has to last, what to do, and the page that helps.

Each is a function of one `Situation`. A new condition is a line of the table, and a line of docs/operate/alerts.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from vouchd.alerts.rhythm import Key, Rhythm, Rhythms
from vouchd.cloning.verdicts import Verification
from vouchd.core.records import rfc3339
from vouchd.instance.certificates.places import FIXED
from vouchd.instance.hindrances import Cause, Hindrance, hindrances
from vouchd.instance.report import LAG_SECONDS, SKEW_SECONDS, InstanceReport, ServedPoint
from vouchd.pkix.purposes import Validity, ValidityState
from vouchd.settings.carriers import Severity

RESTARTS_WINDOW_SECONDS = 900
_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the settings say of how much is too much; `backup_seconds` is 0 where no backup is expected."""

    clock_seconds: int = 300
    backup_seconds: int = 0


@dataclass(frozen=True)
class Situation:
    """All that conditions are judged by, at POSIX time `now`.

    `begun` is when the instance was first looked at; `no_room` says what its disks lack.
    """

    report: InstanceReport
    now: int
    begun: int = 0
    verification: Verification | None = None
    no_room: str = ""
    rhythms: Rhythms = field(default_factory=Rhythms)
    bounds: Bounds = field(default_factory=Bounds)

    @cached_property
    def _hindrances(self) -> tuple[Hindrance, ...]:
        """Looked for once: most rows of the table ask for them, and with many CAs that is what a look costs."""
        return hindrances(self.report, self.now)

    @cached_property
    def habits(self) -> Rhythms:
        """The rhythms held against the points of the report."""
        return self.rhythms.against(self.report.issuing_points)

    def points_of(self, keys: Collection[Key]) -> Iterator[tuple[ServedPoint, Rhythm]]:
        """The points of the report that are among these, in their order, each with its rhythm."""
        if keys:  # seldom; and there may be ten thousand points
            for point in self.report.issuing_points:
                key = point.authority_id, point.scope_id
                if key in keys:
                    yield point, self.rhythms.points[key]

    @cached_property
    def ending(self) -> tuple[tuple[str, Validity], ...]:
        """The certificates that end soon."""
        soon, now = ValidityState.ENDS_SOON, self.now
        return tuple([each for each in self.report.certificates if each[1].state(now) is soon])

    def because_of(self, cause: Cause) -> Iterator[Trouble]:
        """What keeps revocations from being answered for that cause."""
        return (_trouble(one) for one in self._hindrances if one.cause is cause)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A condition as it is present: with what (a CA, a member; empty: the instance), in which words."""

    subject: str
    words: str


def _trouble(hindrance: Hindrance) -> Trouble:
    return Trouble(hindrance.name, hindrance.why)


Present = Callable[[Situation], Iterator[Trouble]]


@dataclass(frozen=True, slots=True)
class Condition:
    """One row; `patience_seconds` is how long it has to be present before it is told of, and gone before it is over."""

    name: str
    severity: Severity
    patience_seconds: int
    present: Present
    remedy: str
    page: str

    @property
    def title(self) -> str:
        """What is wrong, in words."""
        return TITLES[self.name]


def _cause(cause: Cause) -> Present:
    return lambda situation: situation.because_of(cause)


def _workers(situation: Situation) -> Iterator[Trouble]:
    report = situation.report
    if not report.acknowledged:
        words = f"{report.workers_ready} of {len(report.workers)} answer from what was published last"
        yield Trouble("", words)


def _workers_end(situation: Situation) -> Iterator[Trouble]:
    count = situation.rhythms.restarted(situation.now, RESTARTS_WINDOW_SECONDS)
    if count >= _RESTARTS:
        yield Trouble(
            "", f"{count} workers ended within {RESTARTS_WINDOW_SECONDS // 60} minutes and were started again"
        )


def _not_restarted(situation: Situation) -> Iterator[Trouble]:
    if situation.report.refused:
        yield Trouble("", f"a restart was refused: {situation.report.refused}")


def _ended(*, signers: bool) -> Present:
    def present(situation: Situation) -> Iterator[Trouble]:
        for trouble in situation.because_of(Cause.CERTIFICATE):
            if signers is (trouble.subject not in FIXED):
                yield trouble

    return present


def _ends(*, signers: bool) -> Present:
    def present(situation: Situation) -> Iterator[Trouble]:
        for name, validity in situation.ending:
            if signers is (name not in FIXED):
                renewal = situation.report.renewal(name)
                by_itself = f"; it {renewal}" if renewal else ""
                words = f"{validity.warning(situation.now)}, at {rfc3339(validity.not_after)}{by_itself}"
                yield Trouble(name, words)

    return present


def _overdue(situation: Situation) -> Iterator[Trouble]:
    dues = situation.habits.dues
    for point, _ in situation.points_of({key for key, due in dues.items() if due <= situation.now}):
        if point.next_update is None or point.next_update > situation.now:
            yield Trouble(
                _name(point.label, point.scope_id),
                f"no newer CRL since {rfc3339(point.this_update)}, against its CA's habit",
            )


def _gap(situation: Situation) -> Iterator[Trouble]:
    for point, rhythm in situation.points_of(situation.habits.odd):
        if rhythm.gap:
            words = f"CRL {rhythm.number} came after leaving out {rhythm.gap} numbers more than usual"
            yield Trouble(_name(point.label, point.scope_id), words)


def _fell(situation: Situation) -> Iterator[Trouble]:
    for point, rhythm in situation.points_of(situation.habits.odd):
        if rhythm.fell:
            yield Trouble(_name(point.label, point.scope_id), f"its number fell to {rhythm.number}")


def _name(label: str, scope: str) -> str:
    return label if scope == "complete" else f"{label} ({scope[:8]})"


def _skewed(situation: Situation) -> Iterator[Trouble]:
    for member in situation.report.members:
        if member.reachable and abs(member.skew_seconds) > SKEW_SECONDS:
            yield Trouble(member.id, f"its clock differs by {member.skew_seconds} s")


def _clock(situation: Situation) -> Iterator[Trouble]:
    latest = situation.now + situation.bounds.clock_seconds
    points = situation.report.issuing_points
    ahead = [point for point in points if point.this_update > latest or point.accepted_at > latest]
    if ahead:
        newest = max(max(point.this_update, point.accepted_at) for point in ahead)
        yield Trouble("", f"the clock is {newest - situation.now} s behind what a CRL of ours says")


def _disk(situation: Situation) -> Iterator[Trouble]:
    if situation.no_room:
        yield Trouble("", situation.no_room)


def _selftests(situation: Situation) -> Iterator[Trouble]:
    for result in situation.report.selftests:
        if not result.ok:
            yield Trouble(result.name, result.detail)


def _different(situation: Situation) -> Iterator[Trouble]:
    for member in situation.verification.members if situation.verification else ():
        if member.examples:
            yield Trouble(member.id, f"{member.differences} differences, first {member.examples[0]}")


def _late_replica(situation: Situation) -> Iterator[Trouble]:
    replication = situation.report.replication
    for server in replication.servers if replication else ():
        if not server.why and (server.lag_seconds or 0) > LAG_SECONDS:
            yield Trouble(server.server, f"lacks changes of {server.lag_seconds} s ago")


def _conflicts(situation: Situation) -> Iterator[Trouble]:
    replication = situation.report.replication
    if replication is not None and replication.conflicts:
        yield Trouble("", f"{replication.conflicts} entries were made on two servers at once")


def _stale_replicas(situation: Situation) -> Iterator[Trouble]:
    replication = situation.report.replication
    for number in replication.stale_replicas if replication else ():
        yield Trouble(str(number), f"the replica {number} has left the set and was not cleaned up")


def _waiting(situation: Situation) -> Iterator[Trouble]:
    for one in situation.report.waiting_signers:
        yield Trouble(one.signer, f"not switched to yet: {one}")


def _approvals(situation: Situation) -> Iterator[Trouble]:
    for one in situation.report.waiting_approvals:
        if one.expires_at > situation.now:
            yield Trouble(one.id, f"{one.operation}, asked for by {one.requester}, until {rfc3339(one.expires_at)}")


def _backup_old(situation: Situation) -> Iterator[Trouble]:
    most, backup = situation.bounds.backup_seconds, situation.report.backup
    since = max(backup.proved_at or 0, situation.begun)
    if most and situation.now - since > most:
        when = rfc3339(backup.proved_at) if backup.proved_at else "never"
        yield Trouble("", f"the last backup that was proved: {when}")


def _backup_failed(situation: Situation) -> Iterator[Trouble]:
    if situation.report.backup.error:
        yield Trouble("", situation.report.backup.error)


def _carriers(situation: Situation) -> Iterator[Trouble]:
    for one in situation.report.carriers:
        if one.error:
            yield Trouble(one.name, f"alerts do not go out: {one.error}")
        if one.lost:
            yield Trouble(f"{one.name} lost", f"{one.lost} notices were given up, too many had to wait")


_CRITICAL, _WARNING = Severity.CRITICAL, Severity.WARNING
_PROCESSES, _FAULTS = "docs/operate/processes.md", "docs/set/faults.md"
_HELD = f"{_PROCESSES}#what-keeps-revocations-from-being-answered"
_CERTIFICATES, _DIRECTORY = "docs/operate/certificates.md", "docs/set/directory.md"
_ALERTS, _CRLS = "docs/operate/alerts.md", "docs/design/flow-crl.md"

CONDITIONS = (
    Condition("halted", _CRITICAL, 0, _cause(Cause.HALTED), "vouchd selftest run", "docs/operate/selftests.md"),
    Condition("workers", _CRITICAL, 120, _workers, "see the log: why can they not load it?", _PROCESSES),
    Condition("behind", _CRITICAL, 60, _cause(Cause.BEHIND), "vouchd status, vouchd clone status", _FAULTS),
    Condition("store", _CRITICAL, 120, _cause(Cause.STORE), "is the disk full, or the directory down?", _FAULTS),
    Condition("audit", _CRITICAL, 0, _cause(Cause.AUDIT), "vouchd audit verify", "docs/operate/audit.md"),
    Condition("disk", _CRITICAL, 60, _disk, "free space; without it no CRL is taken in", "docs/operate/selftests.md"),
    Condition("part", _CRITICAL, 60, _cause(Cause.PART), "vouchd status", _HELD),
    Condition("crl-expired", _CRITICAL, 0, _cause(Cause.CRL), "have the CA publish, or: vouchd crl retire", _HELD),
    Condition("signer-ended", _CRITICAL, 0, _ended(signers=True), "vouchd signer list", _CERTIFICATES),
    Condition("certificate-ended", _CRITICAL, 0, _ended(signers=False), "vouchd certs renew", _CERTIFICATES),
    Condition("replication", _CRITICAL, 60, _cause(Cause.REPLICATION), "vouchd directory status", _DIRECTORY),
    Condition("members-differ", _CRITICAL, 60, _different, "vouchd clone verify", "docs/set/cloning.md"),
    Condition("quarantine", _WARNING, 60, _cause(Cause.QUARANTINE), "vouchd crl quarantine list", _HELD),
    Condition("refused", _WARNING, 60, _cause(Cause.REFUSED), "vouchd crl list", _HELD),
    Condition("unverified", _WARNING, 60, _cause(Cause.UNVERIFIED), "vouchd status", _HELD),
    Condition("source", _WARNING, 300, _cause(Cause.SOURCE), "vouchd status", _HELD),
    Condition("cover", _WARNING, 300, _cause(Cause.COVER), "vouchd authority show", _HELD),
    Condition("crl-overdue", _WARNING, 60, _overdue, "does the CA publish? does its source deliver?", _CRLS),
    Condition("crl-number-gap", _WARNING, 0, _gap, "did a CRL of that CA not arrive?", _CRLS),
    Condition("crl-number-fell", _WARNING, 0, _fell, "the audit log says who let it: vouchd audit search", _CRLS),
    Condition("signer-ends", _WARNING, 0, _ends(signers=True), "vouchd signer renew", "docs/set/keyring.md"),
    Condition("certificate-ends", _WARNING, 0, _ends(signers=False), "vouchd certs renew", _CERTIFICATES),
    Condition("signer-waiting", _WARNING, 900, _waiting, "vouchd signer show", "docs/set/keyring.md"),
    Condition("approval-waiting", _WARNING, 0, _approvals, "vouchd approval show", "docs/operate/four-eyes.md"),
    Condition("member-away", _WARNING, 120, _cause(Cause.MEMBER), "vouchd clone status on both", _FAULTS),
    Condition("upkeep", _WARNING, 300, _cause(Cause.UPKEEP), "vouchd status", _FAULTS),
    Condition("clocks-differ", _WARNING, 300, _skewed, "synchronise the clocks of all members", _FAULTS),
    Condition(
        "clock", _WARNING, 60, _clock, "set the clock of this host, and keep it by NTP", "docs/operate/selftests.md"
    ),
    Condition("replication-late", _WARNING, 300, _late_replica, "vouchd directory status", _DIRECTORY),
    Condition("replication-conflict", _WARNING, 300, _conflicts, "vouchd directory status", _DIRECTORY),
    Condition("replica-left-over", _WARNING, 300, _stale_replicas, "vouchd directory status", _DIRECTORY),
    Condition("selftest", _WARNING, 0, _selftests, "vouchd selftest list", "docs/operate/selftests.md"),
    Condition("workers-end", _WARNING, 0, _workers_end, "the log says with which signal or error", _PROCESSES),
    Condition("restart-refused", _WARNING, 0, _not_restarted, "mend CS.cfg, then: vouchd restart", _PROCESSES),
    Condition(
        "backup-old",
        _WARNING,
        0,
        _backup_old,
        "vouchd backup --all",
        "docs/operate/backup.md",
    ),
    Condition("backup-failed", _WARNING, 0, _backup_failed, "see the log", "docs/operate/backup.md"),
    Condition("carrier", _WARNING, 120, _carriers, "vouchd alert test", _ALERTS),
)

# The same in words, as pages have them.
TITLES = {
    "halted": "It answers nothing",
    "workers": "Workers are behind what was published",
    "behind": "A CA is answered tryLater",
    "store": "The store cannot be reached",
    "audit": "The audit log cannot be written",
    "disk": "No room on a disk",
    "part": "A part cannot be used",
    "crl-expired": "A CRL has ended",
    "signer-ended": "A signer's certificate has ended",
    "certificate-ended": "A certificate has ended",
    "replication": "Changes do not reach a directory server",
    "members-differ": "Members answer differently",
    "quarantine": "A CRL is held back",
    "refused": "The newest CRL was not taken",
    "unverified": "The store has what is not believed",
    "source": "A source does not deliver",
    "cover": "CRLs do not speak for every certificate",
    "crl-overdue": "A CRL is late",
    "crl-number-gap": "CRL numbers were left out",
    "crl-number-fell": "A lower CRL number was accepted",
    "signer-ends": "A signer's certificate ends soon",
    "certificate-ends": "A certificate ends soon",
    "signer-waiting": "The set does not switch to a signer",
    "approval-waiting": "An operation waits for a second agent",
    "member-away": "A member cannot be reached",
    "upkeep": "Work for the set fails",
    "clocks-differ": "Clocks of members differ",
    "clock": "This host's clock is behind",
    "replication-late": "A directory server lacks changes",
    "replication-conflict": "Directory entries conflict",
    "replica-left-over": "A server that left was not cleaned up",
    "selftest": "A self test failed",
    "workers-end": "Workers end again and again",
    "restart-refused": "A restart was refused",
    "backup-old": "No backup was proved lately",
    "backup-failed": "The last backup failed",
    "carrier": "A carrier of alerts fails",
}

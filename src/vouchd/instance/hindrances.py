"""What keeps a revocation from being answered, by name: one list, made of the instance's report.

Silence is a fault: whatever is in this list shows in `vouchd status`, `/readyz`, the metrics, the log and the
pages, because each of them shows this list. A new cause is a line here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from vouchd.instance.report import InstanceReport


class Cause(StrEnum):
    """Why a revocation may not be answered."""

    HALTED = "halted"  # nothing is answered
    STARTING = "starting"  # not all CAs are proved yet since the start; those are answered tryLater
    QUARANTINE = "quarantine"  # a CRL is held back
    REFUSED = "refused"  # the newest CRL of a CA was not taken
    UNVERIFIED = "unverified"  # the store has another CRL than this member believes
    SOURCE = "source"  # a source does not deliver
    CRL = "crl"  # no newer CRL, or delta, has come in time
    COVER = "cover"  # a CA's CRLs do not speak for every certificate: what they do not list is unknown
    CERTIFICATE = "certificate"  # one of the instance's own has ended
    PART = "part"  # a signer, or another part, cannot be used; a CA is answered tryLater for it
    STORE = "store"  # what is accepted elsewhere is not seen, and nothing is accepted here
    AUDIT = "audit"  # nothing is accepted that cannot be recorded
    BEHIND = "behind"  # another member answers from a newer CRL
    MEMBER = "member"  # what another member knows is not seen
    UPKEEP = "upkeep"  # following the master, or other work for the set, fails
    REPLICATION = "replication"  # changes do not reach a directory server


@dataclass(frozen=True, slots=True)
class Hindrance:
    """One of them: `name` is the CA, source, certificate, member or server, `why` what is known of it."""

    cause: Cause
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.name}: {self.why}" if self.name else f"{self.cause}: {self.why}"


def hindrances(report: InstanceReport, now: int) -> tuple[Hindrance, ...]:
    """All of them at POSIX time `now`, the widest first."""
    return (*_of_the_instance(report, now), *_of_crls(report, now), *_of_the_set(report))


def _of_the_instance(report: InstanceReport, now: int) -> Iterator[Hindrance]:
    if report.halting:
        yield Hindrance(Cause.HALTED, "", report.halting)
    if report.starting:
        yield Hindrance(Cause.STARTING, "", f"{report.starting} since the start; the others are answered tryLater")
    if report.store_error:
        yield Hindrance(Cause.STORE, "", report.store_error)
    if not report.audit.up:
        why = report.audit.why or "the audit log cannot be written"
        yield Hindrance(Cause.AUDIT, "", f"{why}; nothing is accepted")
    for part in report.failing:
        yield Hindrance(Cause.PART, part.part, part.cause)
    for name, validity in report.certificates:
        if not validity.holds(now):
            yield Hindrance(Cause.CERTIFICATE, name, f"{report.ending(name, validity, now)}; vouchd certs renew")


def _of_crls(report: InstanceReport, now: int) -> Iterator[Hindrance]:
    for crl in report.quarantined:
        number = "a CRL" if crl.crl_number is None else f"CRL {crl.crl_number}"
        yield Hindrance(Cause.QUARANTINE, crl.label, f"{number} from {crl.origin or 'unknown'} is held back: {crl.why}")
    late = [point for point in report.issuing_points if point.next_update is not None and point.next_update <= now]
    yield from (Hindrance(Cause.CRL, point.label, "past nextUpdate, and no newer one has come") for point in late)
    yield from _refused(report)
    for doubt in report.unverified:
        yield Hindrance(Cause.UNVERIFIED, doubt.label, f"not served as the store has it: {doubt.why}")
    for ca in report.uncovered:
        yield Hindrance(Cause.COVER, ca.label, f"{ca.notice}; {ca.mend}")
    for source in report.sources:
        if source.last_error:
            yield Hindrance(Cause.SOURCE, source.name, source.last_error)


def _refused(report: InstanceReport) -> Iterator[Hindrance]:
    """The CAs whose newest CRL was refused, and that have taken none since."""
    refused = {one.authority_id: 0 for one in report.refused_crls}
    if not refused:
        return
    labels = dict(report.labels)
    for point in report.issuing_points:
        if point.authority_id in refused:
            refused[point.authority_id] += point.sequence
    for one in report.refused_crls:
        if one.authority_id in labels and one.taken >= refused[one.authority_id]:
            yield Hindrance(Cause.REFUSED, labels[one.authority_id], f"a CRL from {one.origin} was refused: {one.why}")


def _of_the_set(report: InstanceReport) -> Iterator[Hindrance]:
    for label in report.behind:
        yield Hindrance(Cause.BEHIND, label, "another member has a newer CRL; answered tryLater")
    for member in report.members:
        if not member.reachable:
            yield Hindrance(Cause.MEMBER, member.id, member.error or "cannot be reached")
    for name, error in report.upkeep:
        yield Hindrance(Cause.UPKEEP, name, error)
    for server in report.replication.servers if report.replication else ():
        if server.why:
            yield Hindrance(Cause.REPLICATION, server.server, server.why)

"""Every condition as it is planted: a sound instance, and the same with one thing wrong."""

from __future__ import annotations

from dataclasses import replace

from vouchd.alerts.conditions import Bounds, Situation
from vouchd.alerts.rhythm import Rhythm, Rhythms
from vouchd.audit.keeping import AuditState
from vouchd.cloning.verdicts import Difference, Verification, VerifiedMember
from vouchd.instance.backups import BackupRecord
from vouchd.instance.refusals import RefusedCRL
from vouchd.instance.report import (
    CarrierReport,
    FailingPart,
    HeldCRL,
    InstanceReport,
    MemberReport,
    RefusedPoint,
    RenewalReport,
    ReplicationReport,
    ServedPoint,
    ServerReport,
    UncoveredCA,
    WaitingApproval,
    WaitingSigner,
    WorkerReport,
)
from vouchd.pkix.purposes import Validity
from vouchd.service.pulling import SourceState
from vouchd.service.selftests import SelfTestResult

NOW = 1_800_000_000
HOUR, DAY = 3600, 86400
LIFE = 30 * DAY  # of the sound instance's CRL: nothing runs out while a test looks
POINT = ServedPoint("ab", "complete", "Root", 9, 17, NOW - HOUR, NOW + LIFE, NOW - HOUR, 1000, 34000)
USUAL = Rhythm(9, 17, tuple(NOW - HOUR - age * DAY for age in (4, 3, 2, 1, 0)), (1, 1, 1, 1))
PEER = MemberReport("o2.example:8443", "clone", reachable=True, seen_at=NOW)
GREEN = ServerReport("o2.example:8443", "ds2.example:636", "green", lag_seconds=0)
PASSED = SelfTestResult("DiskSpace", ok=True, critical=False, detail="", hint="", at=NOW, milliseconds=1, trigger="x")
ALIKE = VerifiedMember("o2.example:8443", questions=9, status=9, response_data=9, bytes=9, bytes_asked=9)
OTHER = Difference("bytes", "good of Root", "GET", "producedAt", "1", "2")

SOUND = Situation(
    report=InstanceReport(
        1,
        NOW - DAY,
        ("127.0.0.1", 1),
        ("127.0.0.1", 2),
        version=3,
        acknowledged=True,
        issuing_points=(POINT,),
        workers=(WorkerReport(0, 2, 3),),
        labels=(("ab", "Root"),),
        sources=(SourceState("main"),),
        certificates=(
            ("ocspSigningCert", Validity(NOW - DAY, NOW + 900 * DAY)),
            ("sslserver", Validity(NOW - DAY, NOW + 900 * DAY)),
        ),
        selftests=(PASSED,),
        members=(PEER,),
        replication=ReplicationReport(NOW, (GREEN,)),
        backup=BackupRecord("a.backup", NOW - HOUR, NOW - HOUR, NOW - HOUR),
        carriers=(CarrierReport("duty", sent=4),),
    ),
    now=NOW,
    begun=NOW - 90 * DAY,
    verification=Verification(NOW, (ALIKE,)),
    rhythms=Rhythms({("ab", "complete"): USUAL}),
    bounds=Bounds(clock_seconds=300, backup_seconds=40 * DAY),
)


def reported(**fields: object) -> Situation:
    """The sound instance with other fields in its report."""
    return replace(SOUND, report=replace(SOUND.report, **fields))


def in_rhythm(rhythm: Rhythm, **fields: object) -> Situation:
    """The sound instance whose CRLs came otherwise."""
    return replace(reported(**fields), rhythms=Rhythms({("ab", "complete"): rhythm}))


def replicating(*servers: ServerReport, **fields: object) -> Situation:
    return reported(replication=ReplicationReport(NOW, servers or (GREEN,), **fields))


_SOON = Validity(NOW - 900 * DAY, NOW + 9 * DAY)
_OVER = Validity(NOW - 900 * DAY, NOW - 1)
_FAILED = replace(PASSED, name="KeyFileModes", ok=False, detail="others may read it")
# By name of the condition: the situation, and what the notice has to name.
PLANTED = {
    "halted": (reported(halting="KeyFileModes failed"), "KeyFileModes"),
    "workers": (reported(acknowledged=False, workers=(WorkerReport(0, 2, 2),)), "0 of 1"),
    "behind": (reported(behind=("Root",)), "Root"),
    "store": (reported(store_error="Can't contact LDAP server"), "LDAP"),
    "audit": (reported(audit=AuditState(up=False)), "audit log"),
    "disk": (replace(SOUND, no_room="index: 3 MiB free where 64 are wanted"), "3 MiB"),
    "part": (reported(failing=(FailingPart("signer two", "no certificate yet"),)), "signer two"),
    "crl-expired": (reported(issuing_points=(replace(POINT, next_update=NOW - 1),)), "Root"),
    "signer-ended": (reported(certificates=(("ocspSigningCert", _OVER),)), "ocspSigningCert"),
    "certificate-ended": (reported(certificates=(("sslserver", _OVER),)), "sslserver"),
    "replication": (replicating(replace(GREEN, state="red", why="no agreement")), "ds2.example:636"),
    "members-differ": (
        replace(SOUND, verification=Verification(NOW, (replace(ALIKE, differences=1, examples=(OTHER,)),))),
        "o2.example:8443",
    ),
    "quarantine": (reported(quarantined=(HeldCRL("ab", "complete", "Root", 18, NOW, "x", "9 lost"),)), "9 lost"),
    "refused": (reported(refused_crls=(RefusedCRL("ab", 9, NOW, "x", "CRLForked: two"),)), "CRLForked"),
    "unverified": (reported(unverified=(RefusedPoint("ab", "complete", "Root", "older"),)), "older"),
    "source": (reported(sources=(SourceState("main", last_error="status 404"),)), "404"),
    "cover": (reported(uncovered=(UncoveredCA("Root", "it names its point", "vouchd authority set ab"),)), "Root"),
    "crl-overdue": (in_rhythm(replace(USUAL, updates=tuple(at - 2 * DAY for at in USUAL.updates))), "habit"),
    "crl-number-gap": (in_rhythm(replace(USUAL, steps=(1, 1, 1, 3))), "leaving out 2"),
    "crl-number-fell": (in_rhythm(replace(USUAL, steps=(1, 1, 1, -4))), "fell"),
    "signer-ends": (reported(certificates=(("ocspSigningCert", _SOON),)), "expires in"),
    "certificate-ends": (
        reported(
            certificates=(("sslserver", _SOON),), renewals=(RenewalReport("sslserver", "est", NOW - 9, "status 401"),)
        ),
        "(by=est), but: status 401",
    ),
    "signer-waiting": (reported(waiting_signers=(WaitingSigner("ocspSigningCert", "o2", "no key"),)), "no key"),
    "approval-waiting": (
        reported(waiting_approvals=(WaitingApproval("a1b2", "authorities.remove", "ann", NOW + 86400),)),
        "authorities.remove, asked for by ann",
    ),
    "member-away": (reported(members=(replace(PEER, reachable=False, error="refused"),)), "o2.example:8443"),
    "upkeep": (reported(upkeep=(("following", "the master does not answer"),)), "following"),
    "clocks-differ": (reported(members=(replace(PEER, skew_seconds=-20),)), "-20 s"),
    "clock": (reported(issuing_points=(replace(POINT, this_update=NOW + 2 * DAY, sequence=9),)), "behind"),
    "replication-late": (replicating(replace(GREEN, lag_seconds=90)), "90 s"),
    "replication-conflict": (replicating(conflicts=2), "2 entries"),
    "replica-left-over": (replicating(stale_replicas=(7,)), "replica 7"),
    "selftest": (reported(selftests=(_FAILED,)), "others may read it"),
    "workers-end": (
        replace(SOUND, rhythms=replace(SOUND.rhythms, restarts=((NOW - 9, 0), (NOW + DAY, 3)))),
        "3 workers",
    ),
    "restart-refused": (reported(refused="CS.cfg:3: no such key"), "CS.cfg:3"),
    "backup-old": (reported(backup=BackupRecord("a", NOW - 50 * DAY, NOW - 50 * DAY)), "proved"),
    "backup-failed": (reported(backup=replace(SOUND.report.backup, error="no space left")), "no space"),
    "carrier": (reported(carriers=(CarrierReport("duty", error="connection refused"),)), "connection refused"),
}

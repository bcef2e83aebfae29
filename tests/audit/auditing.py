"""An audit log to write, sign and damage, for tests."""

from __future__ import annotations

from cryptography import x509
from tests.pki import CA, NOW, Issued, shared_key
from tests.serving import signer

from vouchd.audit.log import AuditLog, Rotation
from vouchd.audit.proof import Proof, prove
from vouchd.audit.signing import AuditSigning
from vouchd.audit.trust import Trust
from vouchd.core.facts import Caller

CALLER = Caller("agent\nnewline", frozenset({"B", "A"}), "192.0.2.1")
COMMITS = x509.KeyUsage(True, True, False, False, False, False, False, False, False)


class SetClock:
    """Tells the second it was set to."""

    def __init__(self, at: int = NOW) -> None:
        self.at = at

    def now(self) -> int:
        return self.at


class Bench:
    """A log at `path` with a signer, whose certificate has keyUsage contentCommitment, and its CA."""

    def __init__(self, path, rotation: Rotation | None = None) -> None:
        self.path = path
        self.clock = SetClock()
        self.log = AuditLog(path, self.clock, rotation)
        self.ca = CA.create("Audit CA")
        self.issued = self.ca.issue("Auditor's key", key=shared_key("EC", 7), extensions=((COMMITS, True),))
        self.signing = AuditSigning(self.log, signer(self.issued, "audit_signing"), self.clock)

    def record(self, *events: str) -> None:
        for event in events:
            self.log.record(event, CALLER, "success", target="something")

    def prove(self, *trusted: Issued) -> Proof:
        return prove(self.path, Trust([one.certificate for one in trusted or (self.issued,)]))

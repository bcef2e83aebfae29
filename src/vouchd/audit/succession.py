"""From one signer of the audit log to the next at a start: what was cut short between the two is made good.

A process that goes on has the key before sign the record of the next certificate (`AuditSigning.succeed`), by which who
verifies the log comes from one to the other. Where the process was killed after `CS.cfg` had named the next, or none
was running when it was installed, nobody has spoken for the next one yet: the key before is in its file still, and does
so first.
"""

from __future__ import annotations

import hashlib

from vouchd.audit.log import ITSELF, AuditLog
from vouchd.audit.search import AuditQuery, AuditReader
from vouchd.audit.signing import SIGNING, AuditSigning
from vouchd.audit.trust import SIGNER_NAME, SUCCESSION
from vouchd.core.ports import Clock, Signer


def last_signer(log: AuditLog) -> str:
    """SHA-256 (hex) of the certificate that the log was signed with last; empty: never. Raises: StoreUnavailable."""
    signatures = AuditReader(log.path).search(AuditQuery(event=SIGNING), limit=1)
    return str(signatures[0].detail.get("signer", "")) if signatures else ""


def vouch(log: AuditLog, former: Signer, signer: Signer, clock: Clock) -> None:
    """Have `former` sign all up to here, with the record of the certificate that signs from now on.

    Raises: StoreUnavailable, SigningError.
    """
    name = hashlib.sha256(signer.certificate_der).hexdigest()
    if not AuditReader(log.path).search(AuditQuery(event=SUCCESSION, text=name), limit=1):
        log.record(SUCCESSION, ITSELF, "success", certificate=SIGNER_NAME, sha256=name)
    AuditSigning(log, former, clock).sign()

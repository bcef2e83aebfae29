"""Whose signatures the audit log gets: at a start, and when the process takes the next certificate on."""

from __future__ import annotations

import hashlib
import logging

from vouchd.audit.keeping import AuditKeeping
from vouchd.audit.log import AuditLog
from vouchd.audit.trust import last_signer, vouch
from vouchd.core.ports import Clock
from vouchd.errors import SigningError, StoreUnavailable
from vouchd.instance.certificates.signers import audit_signer, former_audit_signer
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.signing.software import SoftwareSigner

_log = logging.getLogger(__name__)


def succeeding_audit_signer(layout: Layout, settings: Settings, log: AuditLog, clock: Clock) -> SoftwareSigner | None:
    """Who signs the log from this start on, for whom the one before has spoken where it is another one.

    None too when it cannot be used: the log goes on unsigned, and is told of as such.
    """
    try:
        signer = audit_signer(layout, settings)
    except SigningError:
        return None
    if signer is None:
        return None
    try:
        former = last_signer(log)
        if former not in {"", hashlib.sha256(signer.certificate_der).hexdigest()}:
            before = former_audit_signer(layout, former)
            if before is not None:
                vouch(log, before, signer, clock)
    except (SigningError, StoreUnavailable) as error:
        _log.warning("the audit log's former signer does not speak for the next: %s", error)
    return signer


def sign_audit_log(keeping: AuditKeeping, layout: Layout, settings: Settings) -> None:
    """Have the log signed with the key that these settings name. Raises: SigningError, StoreUnavailable."""
    signer = audit_signer(layout, settings)
    if signer is not None:
        keeping.sign_with(signer)

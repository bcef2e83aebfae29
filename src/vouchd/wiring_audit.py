"""The audit log put together: settings -> log, signer, what the manager process keeps."""

from __future__ import annotations

from collections.abc import Mapping

from vouchd.core.policy import AnswerRecords
from vouchd.core.ports import Clock
from vouchd.settings.layout import Layout
from vouchd.settings.declared import AuditSettings
from vouchd.audit.log import AuditLog, Rotation
from vouchd.audit.keeping import AuditKeeping
from vouchd.audit.signing import AuditSigning
from vouchd.ops.clients import address_shown
from vouchd.signing.software import SoftwareSigner


def audit_log(layout: Layout, settings: AuditSettings, clock: Clock) -> AuditLog:
    """The log of the instance at `layout`."""
    return AuditLog(layout.audit_log, clock, Rotation(settings.max_bytes, settings.max_age_seconds))


def audit_keeping(
    log: AuditLog,
    signer: SoftwareSigner | None,
    settings: AuditSettings,
    clock: Clock,
    signers: Mapping[str, str] | None = None,
) -> AuditKeeping:
    """What the manager process does for the log; `signers` are the key identifiers of the OCSP signers."""
    return AuditKeeping(
        log,
        AuditSigning(log, signer, clock) if signer else None,
        clock,
        flush_seconds=settings.flush_seconds,
        sample=settings.sample if settings.answers is AnswerRecords.SAMPLED else 1,
        shown=address_shown(settings.client_address),
        signers=signers,
        expires_seconds=settings.expires_seconds,
    )

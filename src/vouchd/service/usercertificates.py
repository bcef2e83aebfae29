"""The certificates of users: how they are read, and when one is not accepted although it is registered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from cryptography import x509

from vouchd.core.facts import CertStatus, ExpiredCRLPolicy
from vouchd.core.key_history import Issuer
from vouchd.core.policy import ResponsePolicy
from vouchd.core.status import (
    Decision,
    ServingAuthority,
    ServingState,
    covers_every_serial,
    decide,
    expired,
)
from vouchd.errors import PermissionDenied, TryLater
from vouchd.pkix import certs
from vouchd.service.authorities import read_certificate

MAX_CERTIFICATE_BYTES = 64 << 10
MAX_SUBJECT_CHARACTERS = 200


def fingerprint(certificate_der: bytes) -> str:
    """SHA-256 (hex) of the certificate, by which it is named."""
    return hashlib.sha256(certificate_der).hexdigest()


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a list shows of a certificate: names as RFC 4514 has them, times in POSIX seconds."""

    fingerprint: str
    subject: str
    issuer: str
    serial: bytes
    not_before: int
    not_after: int


def describe(certificate_der: bytes) -> CertificateFacts:
    """The facts of a user's certificate. Raises: ConfigError."""
    _, certificate = read_certificate(certificate_der, MAX_CERTIFICATE_BYTES)
    return CertificateFacts(
        fingerprint=fingerprint(certificate_der),
        subject=subject_text(certificate),
        issuer=issuer_text(certificate),
        serial=certs.serial_octets(certificate),
        not_before=certs.not_before(certificate),
        not_after=certs.not_after(certificate),
    )


def subject_text(certificate: x509.Certificate) -> str:
    """The subject as RFC 4514 has it, cut to what a log line bears; of one that cannot be read that it is there."""
    return certs.name_text(certificate)[:MAX_SUBJECT_CHARACTERS]


def issuer_text(certificate: x509.Certificate) -> str:
    """The issuer, likewise."""
    return certs.issuer_name_text(certificate)[:MAX_SUBJECT_CHARACTERS]


def require_valid(certificate: x509.Certificate, at: int) -> None:
    """Raise PermissionDenied unless `at` (POSIX seconds) lies within the certificate's validity."""
    if at > certs.not_after(certificate):
        raise PermissionDenied(
            "the certificate has expired", hint="renew it and register the new one: vouchd user certs"
        )
    if at < certs.not_before(certificate):
        raise PermissionDenied("the certificate is not valid yet", hint="compare the clocks of both hosts")


def require_not_revoked(
    certificate: x509.Certificate, issuer: Issuer | None, state: ServingState, policy: ResponsePolicy, at: int
) -> str:
    """What is known of the certificate's status, in one word or a few; PermissionDenied when it may not be relied on.

    Only its `issuer` is asked, a CA of `state`; None: none of them is. Where it cannot tell (no CRL yet, one past its
    nextUpdate, or CRLs that do not cover the certificate) the certificate is let pass: it may be the CA's own, come to
    bring the CRL that is missing. What an outdated CRL lists stays revoked.
    """
    if issuer is None:
        return "issuer not served"
    serving = state.by_id[issuer.authority.id]
    try:
        decision = decide(_serving_stale(serving), certs.serial_octets(certificate), policy, at, issuer.key)
    except TryLater:
        return "no CRL"
    if decision.status is CertStatus.REVOKED:
        raise PermissionDenied(f"the certificate is revoked: {decision.why}", hint="ask the CA for a new certificate")
    if decision.status is CertStatus.UNKNOWN:
        return _unknown(serving, certs.serial_octets(certificate), decision)
    return "outdated CRL" if expired(decision.points, at) else "good"


def _unknown(serving: ServingAuthority, serial: bytes, decision: Decision) -> str:
    issued = serving.issued is None or serial in serving.issued
    if issued and not covers_every_serial(serving.points, serving.authority.policy):
        return "not covered by a CRL"
    raise PermissionDenied(
        f"the status of the certificate is unknown: {decision.why}",
        hint="vouchd explain tells why; vouchd authority set changes what the CA's unlisted certificates are",
    )


def _serving_stale(serving: ServingAuthority) -> ServingAuthority:
    """The same, answering from its CRLs after their nextUpdate too."""
    authority = serving.authority
    policy = replace(authority.policy, expired_crl=ExpiredCRLPolicy.SERVE)
    return replace(serving, authority=replace(authority, policy=policy))

"""Full and delta CRLs as they are built (RFC 5280 section 5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from vouchd.ca.ca_keys import SigningKey
from vouchd.ca.certification import authority_key_identifier, distribution_point, utc
from vouchd.ca.facts import CertificateRecord, CRLScope, IssuedStatus
from vouchd.pkix.reasons import Reason

REASON_FLAGS: dict[Reason, x509.ReasonFlags] = {
    Reason.KEY_COMPROMISE: x509.ReasonFlags.key_compromise,
    Reason.CA_COMPROMISE: x509.ReasonFlags.ca_compromise,
    Reason.AFFILIATION_CHANGED: x509.ReasonFlags.affiliation_changed,
    Reason.SUPERSEDED: x509.ReasonFlags.superseded,
    Reason.CESSATION_OF_OPERATION: x509.ReasonFlags.cessation_of_operation,
    Reason.CERTIFICATE_HOLD: x509.ReasonFlags.certificate_hold,
    Reason.REMOVE_FROM_CRL: x509.ReasonFlags.remove_from_crl,
    Reason.PRIVILEGE_WITHDRAWN: x509.ReasonFlags.privilege_withdrawn,
    Reason.AA_COMPROMISE: x509.ReasonFlags.aa_compromise,
}


@dataclass(frozen=True, slots=True)
class CRLHeader:
    """Everything of a CRL but its entries; `base_number` makes it a delta, `delta_url` says where deltas are found."""

    number: int
    this_update: int
    next_update: int
    scope: CRLScope = CRLScope.COMPLETE
    base_number: int | None = None
    delta_url: str = ""


def build_crl(
    header: CRLHeader, records: Iterable[CertificateRecord], issuer: x509.Certificate, signer: SigningKey
) -> tuple[bytes, int]:
    """DER of the CRL of `records`, and how many entries it has.

    A record that is valid becomes a removeFromCRL entry: it can only come from a delta's list of changes.
    """
    entries = [_entry(record, header.this_update) for record in records]
    # Given whole: add_revoked_certificate copies its list at every call.
    builder = (
        x509.CertificateRevocationListBuilder(issuer.subject, revoked_certificates=entries)
        .last_update(utc(header.this_update))
        .next_update(utc(header.next_update))
    )
    for extension, critical in _extensions(header, issuer):
        builder = builder.add_extension(extension, critical)
    crl = signer.sign_crl(builder)
    return crl.public_bytes(serialization.Encoding.DER), len(entries)


def _extensions(header: CRLHeader, issuer: x509.Certificate) -> list[tuple[x509.ExtensionType, bool]]:
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (authority_key_identifier(issuer), False),
        (x509.CRLNumber(header.number), False),
    ]
    if header.scope is not CRLScope.COMPLETE:
        extensions.append((_issuing_distribution_point(header.scope), True))
    if header.base_number is not None:
        extensions.append((x509.DeltaCRLIndicator(header.base_number), True))
    elif header.delta_url:
        # RFC 5280 section 5.2.6: FreshestCRL must not stand in a delta.
        extensions.append((x509.FreshestCRL([distribution_point(header.delta_url)]), False))
    return extensions


def _issuing_distribution_point(scope: CRLScope) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=None,
        relative_name=None,
        only_contains_user_certs=scope is CRLScope.USER,
        only_contains_ca_certs=scope is CRLScope.CA,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )


def _entry(record: CertificateRecord, this_update: int) -> x509.RevokedCertificate:
    reason = Reason.REMOVE_FROM_CRL if record.status is IssuedStatus.VALID else record.reason
    revoked_at = this_update if record.revoked_at is None else record.revoked_at
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(int.from_bytes(record.serial, "big", signed=True))
        .revocation_date(utc(revoked_at))
    )
    # RFC 5280 section 5.3.1: `unspecified` is said by leaving the extension out.
    if reason in REASON_FLAGS:
        builder = builder.add_extension(x509.CRLReason(REASON_FLAGS[reason]), critical=False)
    if record.invalidity_date is not None:
        builder = builder.add_extension(x509.InvalidityDate(utc(record.invalidity_date)), critical=False)
    return builder.build()

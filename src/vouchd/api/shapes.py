"""Facts as the REST API tells them, beside the schemas that say so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.api.schema import (
    COUNT,
    MAYBE_MOMENT,
    MAYBE_NUMBER,
    MOMENT,
    TEXT,
    Schema,
    array,
    described,
    record,
    reference,
)
from vouchd.core.facts import CRLRecord, Epoch, QuarantinedCRL
from vouchd.core.records import rfc3339
from vouchd.errors import BadInput
from vouchd.pkix import certs
from vouchd.pkix.reasons import Reason, reason_text
from vouchd.pkix.scope import Scope

MAX_SERIAL_OCTETS = 64
_NULL: Schema = {"type": "null"}

PROBLEM_SCHEMA = record(
    {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "error": TEXT, "instance": TEXT}, {"hint": TEXT}
)
CRL_SCHEMA = record(
    {
        "sha256": TEXT,
        "bytes": COUNT,
        "crl_number": MAYBE_NUMBER,
        "base_crl_number": MAYBE_NUMBER,
        "this_update": MOMENT,
        "next_update": MAYBE_MOMENT,
        "entries": COUNT,
    }
)
POINT_SCHEMA = record(
    {
        "authority": TEXT,
        "scope": TEXT,
        "sequence": COUNT,
        "crl_number": MAYBE_NUMBER,
        "this_update": MOMENT,
        "next_update": MAYBE_MOMENT,
        "expired": {"type": "boolean"},
        "accepted_at": MOMENT,
        "origin": TEXT,
        "lower_number_reason": described(TEXT, "Why an administrator had it taken with a lower number; else empty."),
        "entries": described(COUNT, "Revoked certificates, of base and delta together."),
        "base": reference("CRL"),
        "delta": {"anyOf": [reference("CRL"), _NULL]},
        "only": described(array(TEXT), "The kinds of certificates that it is for; none: all."),
        "reasons": described(array(TEXT), "The reasons that it is for; none: all."),
        "indirect": {"type": "boolean"},
    }
)
QUARANTINED_SCHEMA = record(
    {"authority": TEXT, "scope": TEXT, "crl": reference("CRL"), "received_at": MOMENT, "origin": TEXT, "why": TEXT}
)
CERTIFICATE_SCHEMA = record(
    {
        "sha256": TEXT,
        "subject": TEXT,
        "issuer": TEXT,
        "serial": TEXT,
        "not_before": MOMENT,
        "not_after": MOMENT,
        "pem": TEXT,
    }
)
SCHEMAS: dict[str, Schema] = {
    "Problem": PROBLEM_SCHEMA,
    "CRL": CRL_SCHEMA,
    "IssuingPoint": POINT_SCHEMA,
    "QuarantinedCRL": QUARANTINED_SCHEMA,
    "Certificate": CERTIFICATE_SCHEMA,
}
POINTS = array(reference("IssuingPoint"))


def moment(at: int) -> str:
    """POSIX seconds as RFC 3339."""
    return rfc3339(at)


def maybe_moment(at: int | None) -> str | None:
    """The same, None stays None."""
    return None if at is None else moment(at)


def posix(text: str, name: str) -> int:
    """POSIX seconds of RFC 3339 text, UTC when it names no offset. Raises: BadInput."""
    try:
        instant = datetime.fromisoformat(text)
        return int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{name} is not a time", hint="write it as 2026-11-24T05:41:44Z") from error


def serial_text(serial: bytes) -> str:
    """DER INTEGER content octets as hexadecimal with `0x`."""
    return hex(int.from_bytes(serial, "big", signed=True))


def serial_octets(text: str) -> bytes:
    """DER INTEGER content octets of a serial in hexadecimal, with `0x` or colons or neither. Raises: BadInput."""
    digits = text.strip().lower().removeprefix("0x").replace(":", "")
    if not (digits.isascii() and digits.isalnum()) or len(digits) > 2 * MAX_SERIAL_OCTETS:
        raise BadInput("not a serial number", hint="write it in hexadecimal, as 0x52a1c7")
    try:
        number = int(digits, 16)
    except ValueError as error:
        raise BadInput("not a serial number", hint="write it in hexadecimal, as 0x52a1c7") from error
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def reason(revocation_reason: Reason) -> str:
    """The standard's name of a revocation reason, `absent` where the CRL gives none."""
    return reason_text(revocation_reason)


def crl(crl_record: CRLRecord) -> dict[str, Any]:
    """See CRL_SCHEMA."""
    return {
        "sha256": crl_record.sha256,
        "bytes": crl_record.size_bytes,
        "crl_number": crl_record.crl_number,
        "base_crl_number": crl_record.base_crl_number,
        "this_update": moment(crl_record.this_update),
        "next_update": maybe_moment(crl_record.next_update),
        "entries": crl_record.entry_count,
    }


def issuing_point(epoch: Epoch, at: int) -> dict[str, Any]:
    """See POINT_SCHEMA; whether its CRL has passed its nextUpdate at POSIX time `at`."""
    return {
        "authority": epoch.issuing_point.authority_id,
        "scope": epoch.issuing_point.scope_id,
        "sequence": epoch.sequence,
        "crl_number": epoch.newest.crl_number,
        "this_update": moment(epoch.this_update),
        "next_update": maybe_moment(epoch.next_update),
        "expired": epoch.next_update is not None and epoch.next_update <= at,
        "accepted_at": moment(epoch.accepted_at),
        "origin": epoch.origin,
        "lower_number_reason": epoch.renumbering,
        "entries": epoch.entry_count,
        "base": crl(epoch.base),
        "delta": crl(epoch.delta) if epoch.delta else None,
        **scope_facts(Scope.from_idp(epoch.idp_der)),
    }


def scope_facts(scope: Scope) -> dict[str, Any]:
    """Which certificates and reasons a CRL is for, and whether it names other CAs' certificates too."""
    kinds = {"users": scope.only_user, "CAs": scope.only_ca, "attribute certificates": scope.only_attribute}
    return {
        "only": [kind for kind, only in kinds.items() if only],
        "reasons": sorted(one.name.lower() for one in scope.only_some_reasons or ()),
        "indirect": scope.indirect,
    }


def quarantined(quarantined_crl: QuarantinedCRL) -> dict[str, Any]:
    """See QUARANTINED_SCHEMA."""
    return {
        "authority": quarantined_crl.issuing_point.authority_id,
        "scope": quarantined_crl.issuing_point.scope_id,
        "crl": crl(quarantined_crl.record),
        "received_at": moment(quarantined_crl.received_at),
        "origin": quarantined_crl.origin,
        "why": quarantined_crl.why,
    }


def certificate(der: bytes, sha256: str) -> dict[str, Any]:
    """See CERTIFICATE_SCHEMA."""
    cert = certs.load_certificate(der)
    return {
        "sha256": sha256,
        "subject": cert.subject.rfc4514_string(),
        "issuer": cert.issuer.rfc4514_string(),
        "serial": serial_text(certs.serial_octets(cert)),
        "not_before": moment(certs.not_before(cert)),
        "not_after": moment(certs.not_after(cert)),
        "pem": pem(cert),
    }


def pem(cert: x509.Certificate) -> str:
    """The certificate as PEM."""
    return cert.public_bytes(Encoding.PEM).decode()

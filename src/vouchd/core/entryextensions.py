"""CRL entry extensions of RFC 5280 section 5.3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vouchd.pkix import der
from vouchd.pkix.extensions import Extension, read_extensions
from vouchd.core.facts import Reason
from vouchd.errors import CRLRejected

REASON_CODE, INVALIDITY_DATE, CERTIFICATE_ISSUER = (
    der.oid_octets("2.5.29.21"),
    der.oid_octets("2.5.29.24"),
    der.oid_octets("2.5.29.29"),
)
_DIRECTORY_NAME = 0xA4
_REASONS: Final = {int(reason): reason for reason in Reason if reason is not Reason.ABSENT}


@dataclass(frozen=True, slots=True)
class EntryExtensions:
    """What the extensions of one entry say; `certificate_issuer` is the DER of a Name."""

    reason: Reason = Reason.ABSENT
    invalidity_date: int | None = None
    certificate_issuer: bytes | None = None


def read_entry_extensions(tlv: bytes) -> EntryExtensions:
    """What crlEntryExtensions with tag and length say.

    Raises: ValueError when they are malformed; CRLRejected for an unknown critical one (RFC 5280 section 5.3).
    """
    reason, invalidity_date, certificate_issuer = Reason.ABSENT, None, None
    for extension in read_extensions(tlv, der.whole(tlv, der.SEQUENCE)):
        value = extension.value
        if extension.oid == REASON_CODE:
            reason = _reason(value)
        elif extension.oid == INVALIDITY_DATE:
            invalidity_date = der.time_seconds(value, der.whole(value, der.GENERALIZED_TIME))
        elif extension.oid == CERTIFICATE_ISSUER:
            certificate_issuer = _directory_name(value)
        else:
            _refuse_critical(extension)
    return EntryExtensions(reason, invalidity_date, certificate_issuer)


def _reason(value: bytes) -> Reason:
    number = der.integer(value, der.whole(value, der.ENUMERATED))
    if number not in _REASONS:
        raise ValueError(f"reasonCode {number}, which RFC 5280 section 5.3.1 does not know")
    return _REASONS[number]


def _directory_name(value: bytes) -> bytes:
    """The Name in GeneralNames, where RFC 5280 section 5.3.3 wants one; other forms beside it are ignored."""
    names = der.whole(value, der.SEQUENCE)
    for name in der.children(value, names):
        if name.tag == _DIRECTORY_NAME:
            inner = der.expect(value, name.start, name.end, der.SEQUENCE)
            if inner.end != name.end:
                raise ValueError("bytes after the directoryName of certificateIssuer")
            return der.element(value, inner)
    raise ValueError("certificateIssuer without a directoryName")


def _refuse_critical(extension: Extension) -> None:
    if extension.critical:
        raise CRLRejected(
            f"an entry of the CRL has a critical extension that is not supported: {der.dotted(extension.oid)}",
            hint="RFC 5280 section 5.3 forbids to use such a CRL; ask the CA to make it non-critical",
        )

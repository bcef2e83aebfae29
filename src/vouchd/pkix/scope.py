"""Which certificates and reasons a CRL speaks of: IssuingDistributionPoint (RFC 5280 section 5.2.5)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from vouchd.errors import CRLRejected
from vouchd.pkix import der
from vouchd.pkix.reasons import Reason

COMPLETE_SCOPE = "complete"
MAX_IDP_BYTES = 65536

# ReasonFlags of RFC 5280 section 4.2.1.13, by bit; bit 0 is unused there.
REASON_FLAGS: Final = (
    None,
    Reason.KEY_COMPROMISE,
    Reason.CA_COMPROMISE,
    Reason.AFFILIATION_CHANGED,
    Reason.SUPERSEDED,
    Reason.CESSATION_OF_OPERATION,
    Reason.CERTIFICATE_HOLD,
    Reason.PRIVILEGE_WITHDRAWN,
    Reason.AA_COMPROMISE,
)
ALL_REASONS: Final = frozenset(reason for reason in REASON_FLAGS if reason is not None)
_DISTRIBUTION_POINT, _ONLY_USER, _ONLY_CA, _ONLY_REASONS, _INDIRECT, _ONLY_ATTRIBUTE = (
    0xA0,
    0x81,
    0x82,
    0x83,
    0x84,
    0x85,
)
_ORDER: Final = (_DISTRIBUTION_POINT, _ONLY_USER, _ONLY_CA, _ONLY_REASONS, _INDIRECT, _ONLY_ATTRIBUTE)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a CRL covers; `Scope()` is a complete CRL, one without IssuingDistributionPoint.

    `idp_der` is the DER of the extension's value and `scope_id` its SHA-256 in hex.
    `distribution_point_der` is the DER of the DistributionPointName with its [0], empty when the CRL names none and so
    covers all certificates of its kind.
    """

    scope_id: str = COMPLETE_SCOPE
    idp_der: bytes = b""
    only_user: bool = False
    only_ca: bool = False
    only_attribute: bool = False
    only_some_reasons: frozenset[Reason] | None = None
    indirect: bool = False
    distribution_point_der: bytes = b""

    @staticmethod
    def from_idp(idp_der: bytes) -> Scope:
        """The scope of DER of IssuingDistributionPoint; of empty bytes and of an empty SEQUENCE it is the complete one.

        Raises: CRLRejected.
        """
        if not idp_der:
            return COMPLETE
        try:
            return _read(idp_der)
        except ValueError as error:
            raise CRLRejected(
                f"issuingDistributionPoint is malformed: {error}", hint="RFC 5280 section 5.2.5"
            ) from error


COMPLETE: Final = Scope()  # most CRLs are of it, and share it


def _read(idp: bytes) -> Scope:
    if len(idp) > MAX_IDP_BYTES:
        raise ValueError(f"larger than {MAX_IDP_BYTES} bytes")
    fields = list(der.children(idp, der.whole(idp, der.SEQUENCE)))
    tags = [field.tag for field in fields]
    if tags != [tag for tag in _ORDER if tag in tags]:
        raise ValueError("fields that are unknown, repeated or out of order")
    if not fields:
        return COMPLETE  # RFC 5280 forbids the empty SEQUENCE to issuers; it restricts nothing
    by_tag = dict(zip(tags, fields, strict=True))

    def flag(tag: int) -> bool:
        return tag in by_tag and der.boolean(idp, by_tag[tag])

    kinds = [flag(tag) for tag in (_ONLY_USER, _ONLY_CA, _ONLY_ATTRIBUTE)]
    if sum(kinds) > 1:
        raise ValueError("more than one of onlyContainsUserCerts, onlyContainsCACerts, onlyContainsAttributeCerts")
    point = by_tag.get(_DISTRIBUTION_POINT)
    reasons = by_tag.get(_ONLY_REASONS)
    return Scope(
        scope_id=hashlib.sha256(idp).hexdigest(),
        idp_der=idp,
        only_user=kinds[0],
        only_ca=kinds[1],
        only_attribute=kinds[2],
        only_some_reasons=None if reasons is None else _reasons(der.content(idp, reasons)),
        indirect=flag(_INDIRECT),
        distribution_point_der=b"" if point is None else _point(idp, point),
    )


def _point(idp: bytes, tlv: der.TLV) -> bytes:
    inner = list(der.children(idp, tlv))
    if len(inner) != 1 or inner[0].tag not in {0xA0, 0xA1}:
        raise ValueError("distributionPoint that is neither fullName nor nameRelativeToCRLIssuer")
    return der.element(idp, tlv)


def _reasons(bits: bytes) -> frozenset[Reason]:
    if not bits or bits[0] > 7 or (len(bits) == 1 and bits[0]):
        raise ValueError("onlySomeReasons that is no BIT STRING")
    flags = {8 * i + j for i, octet in enumerate(bits[1:]) for j in range(8) if octet & 0x80 >> j}
    if not flags or max(flags) >= len(REASON_FLAGS):
        raise ValueError("onlySomeReasons that is empty or names unknown reasons")
    return frozenset(reason for i, reason in enumerate(REASON_FLAGS) if i in flags and reason is not None)

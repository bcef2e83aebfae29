"""CRLReason and revoked entries (RFC 5280 section 5.3), and the reasons' names for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Reason(IntEnum):
    """CRLReason of RFC 5280 section 5.3.1; ABSENT (ours) means that the entry has no reason extension."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    CA_COMPROMISE = 2
    AFFILIATION_CHANGED = 3
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5
    CERTIFICATE_HOLD = 6
    REMOVE_FROM_CRL = 8
    PRIVILEGE_WITHDRAWN = 9
    AA_COMPROMISE = 10
    ABSENT = 255


@dataclass(frozen=True, slots=True)
class RevocationEntry:
    """One revoked certificate as a CRL tells it (RFC 5280 section 5.3)."""

    serial: bytes
    revocation_time: int
    reason: Reason = Reason.ABSENT
    invalidity_date: int | None = None


NAMES: dict[Reason, str] = {
    Reason.UNSPECIFIED: "unspecified",
    Reason.KEY_COMPROMISE: "keyCompromise",
    Reason.CA_COMPROMISE: "cACompromise",
    Reason.AFFILIATION_CHANGED: "affiliationChanged",
    Reason.SUPERSEDED: "superseded",
    Reason.CESSATION_OF_OPERATION: "cessationOfOperation",
    Reason.CERTIFICATE_HOLD: "certificateHold",
    Reason.REMOVE_FROM_CRL: "removeFromCRL",
    Reason.PRIVILEGE_WITHDRAWN: "privilegeWithdrawn",
    Reason.AA_COMPROMISE: "aACompromise",
}


def reason_text(reason: Reason) -> str:
    """The standard's name of a reason."""
    return NAMES.get(reason, "absent")

"""The names of CRLReason (RFC 5280 section 5.3.1) for people."""

from __future__ import annotations

from vouchd.core.facts import Reason

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

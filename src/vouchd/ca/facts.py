"""What the certificate manager keeps: certificates and their status, CRLs, publishing targets, its settings.

Times are POSIX seconds (UTC). A serial number is the content octets of its DER INTEGER.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vouchd.pkix.reasons import Reason

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class IssuedStatus(StrEnum):
    """Where a certificate stands: held can be released, revoked is final. Expiry is a matter of the clock."""

    VALID = "valid"
    HELD = "held"
    REVOKED = "revoked"


class CRLScope(StrEnum):
    """What a CRL covers: everything, or by IssuingDistributionPoint only one kind (RFC 5280 section 5.2.5)."""

    COMPLETE = "complete"
    USER = "user"
    CA = "ca"


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """Choices made for one CA, changeable later."""

    # OCSP address put into issued certificates (authorityInfoAccess); empty: none.
    ocsp_url: str = ""
    # Where the full CRL is found (CRLDistributionPoints); empty: none.
    crl_url: str = ""
    # Where delta CRLs are found (FreshestCRL in certificates and full CRLs); empty: none.
    delta_url: str = ""
    # Where the CA certificate is found (authorityInfoAccess, caIssuers); empty: none.
    issuer_url: str = ""
    # thisUpdate to nextUpdate of a full CRL, in seconds. Shorter: news spreads sooner, an outage bites sooner.
    crl_seconds: int = 1 * DAY
    # The same for delta CRLs.
    delta_seconds: int = 1 * HOUR
    # Keep expired certificates on full CRLs for ever (needed where archive cutoff is used), else drop them once they
    # stood on one CRL after their end (RFC 5280 section 3.3).
    include_expired: bool = False
    # Name in the Certificate System's spelling, e.g. SHA384withRSA/PSS; empty: what suits the key.
    signature_algorithm: str = ""


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """One issued certificate as it stands in the store."""

    serial: bytes
    der: bytes
    subject: str
    profile: str
    is_ca: bool
    not_before: int
    not_after: int
    issued_at: int
    status: IssuedStatus = IssuedStatus.VALID
    revoked_at: int | None = None
    reason: Reason | None = None
    invalidity_date: int | None = None

    @property
    def serial_hex(self) -> str:
        """The serial as lower-case hexadecimal with `0x`."""
        return serial_text(self.serial)


@dataclass(frozen=True, slots=True)
class IssuedCRL:
    """One CRL; `base_number` is None for a full CRL, `der` is empty when its bytes are no longer kept."""

    number: int
    scope: CRLScope
    base_number: int | None
    this_update: int
    next_update: int
    through_change: int
    entry_count: int
    der: bytes

    @property
    def is_delta(self) -> bool:
        """Whether this is a delta CRL (RFC 5280 section 5.2.4)."""
        return self.base_number is not None


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """One place CRLs are published to, and how the last delivery went."""

    specification: str
    number: int | None = None
    delivered_at: int | None = None
    failure: str | None = None


def serial_text(serial: bytes) -> str:
    """Lower-case hexadecimal with `0x`."""
    return hex(int.from_bytes(serial, "big", signed=True))

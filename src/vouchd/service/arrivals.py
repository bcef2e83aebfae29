"""One CRL as it came in, and the epoch that it would make."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from vouchd.pkix import pem
from vouchd.core.acceptance import judge
from vouchd.pkix.crl import MAX_CRL_BYTES, CRLHeader, packed_entries, read_header
from vouchd.core.facts import CRLRecord, Epoch, IssuingPointId
from vouchd.pkix.packed import WIDEST
from vouchd.core.ports import Buffer
from vouchd.errors import CRLRejected


@dataclass(frozen=True, slots=True)
class Received:
    """A CRL in DER with its header and SHA-256 (hex), whence it came and when (POSIX seconds)."""

    crl: Buffer
    header: CRLHeader
    sha256: str
    origin: str
    at: int

    @classmethod
    def of(cls, crl: Buffer, origin: str, at: int) -> Received:
        """What came in as DER, which is not copied, as PEM or as base64.

        Raises: CRLRejected when it is no CRL in any form.
        """
        if len(crl) > 2 * MAX_CRL_BYTES:
            raise CRLRejected(f"{len(crl)} bytes are too many for a CRL", hint="publish partitioned CRLs")
        try:
            der = pem.single(crl, pem.CRL_LABELS)
        except ValueError as error:
            raise CRLRejected(f"not a CRL: {error}", hint="give one CRL in DER or PEM") from error
        return cls(der, read_header(der), hashlib.sha256(der).hexdigest(), origin, at)

    def judge(self, issuer_der: bytes, current: Epoch | None, high_water: tuple[int | None, int]) -> None:
        """Return when it may replace `current`; see core.acceptance, and StatusStore for `high_water`.

        Raises: CRLRejected, CRLStale, CRLForked, CRLOutOfOrder.
        """
        judge(
            self.crl,
            self.header,
            issuer_der,
            sha256=self.sha256,
            current=current,
            high_water=high_water,
            at=self.at,
        )

    def entry_count(self, certificate_issuer: bytes) -> int:
        """How many entries for certificates of that issuer (DER of its Name) it has."""
        return sum(map(len, packed_entries(self.crl, self.header, WIDEST, certificate_issuer)))

    def record(self) -> CRLRecord:
        """What is kept of it; the entries are not counted yet."""
        header = self.header
        return CRLRecord(
            sha256=self.sha256,
            size_bytes=len(self.crl),
            this_update=header.this_update,
            next_update=header.next_update,
            crl_number=header.crl_number,
            base_crl_number=header.base_crl_number,
        )


def next_epoch(received: Received, current: Epoch | None, point: IssuingPointId) -> Epoch:
    """The epoch that follows `current` when the CRL is taken, its entries not counted yet.

    A delta keeps the base; a base keeps the delta that is still newer.
    """
    record = received.record()
    epoch = Epoch(
        issuing_point=point,
        sequence=(current.sequence if current else 0) + 1,
        base=record,
        accepted_at=received.at,
        delta=_still_newer(current, record),
        idp_der=received.header.scope.idp_der,
        origin=received.origin,
    )
    if received.header.is_delta and current is not None:
        return replace(epoch, base=current.base, delta=record)
    return epoch


def _still_newer(current: Epoch | None, base: CRLRecord) -> CRLRecord | None:
    """The delta held, when it goes with the new base and tells more (RFC 5280 section 5.2.4)."""
    delta = current.delta if current else None
    if delta is None or base.crl_number is None or delta.crl_number is None or delta.base_crl_number is None:
        return None
    return delta if delta.base_crl_number <= base.crl_number < delta.crl_number else None

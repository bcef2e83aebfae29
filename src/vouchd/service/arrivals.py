"""One CRL as it came in, and the epoch that it would make."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from vouchd.core.acceptance import judge
from vouchd.core.facts import Authority, CRLRecord, Epoch, IssuingPointId
from vouchd.core.key_history import crl_issuers
from vouchd.errors import CRLRejected
from vouchd.files import Spool
from vouchd.pkix import certs, names, pem
from vouchd.pkix.crl import MAX_CRL_BYTES, CRLHeader, read_header
from vouchd.pkix.der import Buffer
from vouchd.pkix.textual import ObjectSource


@dataclass(frozen=True, slots=True)
class Received:
    """A CRL in DER with its header and SHA-256 (hex), whence it came and when (POSIX seconds)."""

    crl: Buffer
    header: CRLHeader
    sha256: str
    origin: str
    at: int

    @classmethod
    def of(cls, crl: ObjectSource, origin: str, at: int) -> Received:
        """What came in as DER, which is not copied, as PEM or as base64; or what has read it as it came in.

        Raises: CRLRejected when it is no CRL in any form.
        """
        if len(crl) > 2 * MAX_CRL_BYTES:
            raise CRLRejected(f"{len(crl)} bytes are too many for a CRL", hint="publish partitioned CRLs")
        try:
            der = pem.single(crl, pem.CRL_LABELS, Spool)
        except ValueError as error:
            raise CRLRejected(f"not a CRL: {error}", hint="give one CRL in DER or PEM") from error
        return cls(der, read_header(der), hashlib.sha256(der).hexdigest(), origin, at)

    def judge(
        self,
        issuers: tuple[bytes, ...],
        current: Epoch | None,
        high_water: tuple[int | None, int],
        *,
        lower_number: bool = False,
    ) -> bytes:
        """The certificate of its issuer when it may replace `current`; see core.acceptance and StatusStore.

        Raises: CRLRejected, CRLStale, CRLForked, CRLOutOfOrder.
        """
        return judge(
            self.crl,
            self.header,
            issuers,
            sha256=self.sha256,
            current=current,
            high_water=high_water,
            at=self.at,
            lower_number=lower_number,
        )

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


class Retention(NamedTuple):
    """How many CRLs of before an issuing point keeps at most, and of how many octets together; 0: none."""

    crls: int = 0
    octets: int = 0

    def former(self, current: Epoch | None, epoch: Epoch) -> tuple[CRLRecord, ...]:
        """Which are kept, the newest first, when `epoch` takes the place of `current`; one that is too large is not."""
        if current is None:
            return ()
        now = {crl.sha256 for crl in epoch.records}
        past = {crl.sha256: crl for crl in (*current.records, *current.former) if crl.sha256 not in now}
        kept: list[CRLRecord] = []
        left = self.octets
        for crl in sorted(past.values(), key=lambda crl: crl.this_update, reverse=True):
            if len(kept) < self.crls and crl.size_bytes <= left:
                kept.append(crl)
                left -= crl.size_bytes
        return tuple(kept)


NOTHING_KEPT = Retention()


def next_epoch(
    arrival: Received, current: Epoch | None, point: IssuingPointId, issuer_der: bytes, renumbering: str = ""
) -> Epoch:
    """The epoch that follows `current` when the CRL of that issuer is taken, its entries not counted yet.

    A delta keeps the base; a base keeps the delta that is still newer, and with it the key that this was verified with,
    but for one with a lower number that is taken for the reason `renumbering`.
    """
    record = arrival.record()
    delta = None if renumbering else _still_newer(current, record)
    keeps = delta is not None and not arrival.header.is_delta
    before = current.renumbered if current else 0
    epoch = Epoch(
        issuing_point=point,
        sequence=(current.sequence if current else 0) + 1,
        base=record,
        accepted_at=arrival.at,
        delta=delta,
        idp_der=arrival.header.scope.idp_der,
        origin=arrival.origin,
        issuer_key=current.issuer_key if current is not None and keeps else certs.key_id(issuer_der),
        key_only=arrival.header.key_index is not None,
        renumbered=before + 1 if renumbering else before,
        renumbering=renumbering,
    )
    if arrival.header.is_delta and current is not None:
        return replace(epoch, base=current.base, delta=record)
    return epoch


def _still_newer(current: Epoch | None, base: CRLRecord) -> CRLRecord | None:
    """The delta held, when it goes with the new base and tells more (RFC 5280 section 5.2.4)."""
    delta = current.delta if current else None
    if delta is None or base.crl_number is None or delta.crl_number is None or delta.base_crl_number is None:
        return None
    return delta if delta.base_crl_number <= base.crl_number < delta.crl_number else None


# Whom a CRL concerns: the CA that issued it, or those that have named its issuer for their indirect CRLs.


@dataclass(frozen=True, slots=True)
class Recipient:
    """A CA that a CRL may be taken for, with the certificates (DER) with whose keys it may be signed."""

    authority: Authority
    issuers: tuple[bytes, ...]


def recipients(header: CRLHeader, authorities: Iterable[Authority]) -> tuple[Recipient, ...]:
    """The CAs that a CRL with this header may be taken for, by its issuer's name (see core.key_history); at least one.

    Nothing is verified here: that is for `core.acceptance`.

    Raises: CRLRejected when it concerns no CA that is registered.
    """
    named = tuple(
        Recipient(authority, issuers) for authority in authorities if (issuers := crl_issuers(authority, header))
    )
    if not named:
        raise CRLRejected(
            f"the CRL's issuer is no CA of this responder: {names.readable(header.issuer_name_der)}",
            hint="vouchd authority add CERTIFICATE, or name the issuer of an indirect CRL in the CA's policy",
        )
    return named

"""The certificate manager of one CA: issuing, revoking, making CRLs.

The clock is never read here: every act is told its time `at` (POSIX seconds).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from vouchd.ca.ca_keys import SigningKey, check_public_key, read_password, signing_key
from vouchd.ca.certification import build_issued
from vouchd.ca.crls import CRLHeader, build_crl
from vouchd.ca.facts import (
    CertificateRecord,
    CRLScope,
    IssuedCRL,
    IssuedStatus,
)
from vouchd.ca.profiles import PROFILES
from vouchd.ca.requests import MAX_NAMES, CertificateRequest
from vouchd.ca.store import CertificateStore
from vouchd.errors import IssuanceError, NotFound, SigningError
from vouchd.files import read_file
from vouchd.pkix.certs import not_after, not_before, serial_octets
from vouchd.pkix.reasons import Reason
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import read_key

SERIAL_BITS = 128


@dataclass(frozen=True, slots=True)
class AuthorityFolder:
    """The paths of one CA."""

    root: Path

    @property
    def certificate(self) -> Path:
        """The CA's own certificate, PEM."""
        return self.root / "ca.crt"

    @property
    def chain(self) -> Path:
        """Certificates of the CAs above, nearest first, PEM; absent for a root."""
        return self.root / "ca-chain.pem"

    @property
    def key(self) -> Path:
        """The CA's private key, encrypted PKCS #8 PEM (0600)."""
        return self.root / "ca.key"

    @property
    def password(self) -> Path:
        """The password of the key, `internal=...` (0600)."""
        return self.root / "password.conf"

    @property
    def database(self) -> Path:
        """Certificates, CRLs and settings (SQLite, 0600)."""
        return self.root / "ca.sqlite"


class CertificateManager:
    """One CA; any number of processes may hold it at once."""

    def __init__(self, folder: Path) -> None:
        """Open the CA in `folder`. Raises: NotFound, SigningError."""
        self.folder = AuthorityFolder(folder)
        self.store = CertificateStore(self.folder.database)
        self.certificate = read_certificates(self.folder.certificate)[0]

    def close(self) -> None:
        """Release the store."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def signer(self) -> SigningKey:
        """The CA's key, read when it is first needed. Raises: SigningError, ConfigError."""
        key = read_key(self.folder.key, read_password(self.folder.password))
        if key.public_key() != self.certificate.public_key():
            raise SigningError(f"{self.folder.key} is not the key of {self.folder.certificate}")
        return signing_key(key, self.store.settings().signature_algorithm)

    @property
    def certificate_der(self) -> bytes:
        """DER of the CA's own certificate."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def chain_pem(self) -> bytes:
        """PEM of the CA's certificate and of those above it."""
        above = read_file(self.folder.chain) if self.folder.chain.exists() else b""
        return self.certificate.public_bytes(serialization.Encoding.PEM) + above

    # -- issuing --

    def issue(self, request: CertificateRequest, at: int) -> CertificateRecord:
        """Issue one certificate; it is stored before it is returned. Raises: IssuanceError."""
        return self.issue_all([request], at)[0]

    def issue_all(self, requests: Iterable[CertificateRequest], at: int) -> list[CertificateRecord]:
        """Issue certificates in the order asked, all or none. Raises: IssuanceError."""
        settings = self.store.settings()
        with self.store.transaction():
            records = []
            for request in requests:
                validity = self._validity(request, at)
                self._check(request)
                serial = secrets.randbits(SERIAL_BITS) or 1
                certificate = build_issued(request, self.certificate, self.signer, serial, validity, settings)
                record = _record(certificate, request, at)
                self.store.add(record)
                records.append(record)
        return records

    def _validity(self, request: CertificateRequest, at: int) -> tuple[int, int]:
        end = not_after(self.certificate)
        if not not_before(self.certificate) <= at < end:
            raise IssuanceError("the CA's own certificate is not valid now", hint="compare its dates with the clock")
        if request.validity_seconds is None:
            return at, min(at + PROFILES[request.profile].validity_seconds, end)
        if request.validity_seconds <= 0:
            raise IssuanceError("a certificate must be valid for at least one second")
        if at + request.validity_seconds > end:
            left = (end - at) // 86400
            raise IssuanceError("the certificate would outlive its CA", hint=f"the CA ends in {left} days")
        return at, at + request.validity_seconds

    def _check(self, request: CertificateRequest) -> None:
        check_public_key(request.public_key)
        if not request.subject.rdns and not request.names:
            raise IssuanceError("neither subject nor alternative name", hint="name it with --subject or --name")
        if len(request.names) > MAX_NAMES:
            raise IssuanceError(f"{len(request.names)} alternative names", hint=f"at most {MAX_NAMES} are taken")
        if request.public_key == self.certificate.public_key():
            raise IssuanceError("this is the CA's own key", hint="make another key for the certificate")
        if PROFILES[request.profile].is_ca:
            constraint = self.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
            if constraint.path_length == 0:
                raise IssuanceError("this CA may have no CA below it (path length 0)")

    # -- status --

    def revoke(
        self, serial: bytes, at: int, reason: Reason = Reason.UNSPECIFIED, invalidity_date: int | None = None
    ) -> CertificateRecord:
        """Revoke for good, or put on hold when the reason is certificateHold (RFC 5280 section 5.3.1).

        A certificate on hold that is revoked keeps the time of the hold as its revocation time, as X.509 has it. A
        revoked one is taken again only to make its reason keyCompromise, which verifiers must learn.

        Raises: NotFound; IssuanceError when the status does not allow it.
        """
        if reason in {Reason.REMOVE_FROM_CRL, Reason.ABSENT}:
            raise IssuanceError("removeFromCRL is not a reason to revoke", hint="`vouchd ca release` ends a hold")
        if invalidity_date is not None and invalidity_date > at:
            raise IssuanceError("the invalidity date is in the future", hint="it tells since when the key was doubtful")
        with self.store.transaction():
            record = self.store.get(serial)
            self._check_revocable(record, reason)
            on_hold = reason is Reason.CERTIFICATE_HOLD
            changed = replace(
                record,
                status=IssuedStatus.HELD if on_hold else IssuedStatus.REVOKED,
                reason=reason,
                revoked_at=at if record.revoked_at is None else record.revoked_at,
                invalidity_date=record.invalidity_date if invalidity_date is None else invalidity_date,
            )
            self.store.change_status(changed, at)
        return changed

    @staticmethod
    def _check_revocable(record: CertificateRecord, reason: Reason) -> None:
        if record.status is IssuedStatus.HELD and reason is Reason.CERTIFICATE_HOLD:
            raise IssuanceError(f"{record.serial_hex} is on hold already")
        if record.status is not IssuedStatus.REVOKED:
            return
        if reason is not Reason.KEY_COMPROMISE or record.reason is Reason.KEY_COMPROMISE:
            raise IssuanceError(
                f"{record.serial_hex} is revoked already", hint="only its reason can still become keyCompromise"
            )

    def hold(self, serial: bytes, at: int) -> CertificateRecord:
        """Put on hold. Raises: NotFound, IssuanceError."""
        return self.revoke(serial, at, Reason.CERTIFICATE_HOLD)

    def release(self, serial: bytes, at: int) -> CertificateRecord:
        """End a hold: the next delta CRL says removeFromCRL. Raises: NotFound, IssuanceError."""
        with self.store.transaction():
            record = self.store.get(serial)
            if record.status is IssuedStatus.REVOKED:
                raise IssuanceError(f"{record.serial_hex} is revoked for good", hint="only a hold can be released")
            if record.status is IssuedStatus.VALID:
                raise IssuanceError(f"{record.serial_hex} is not on hold")
            changed = replace(record, status=IssuedStatus.VALID, reason=None, revoked_at=None, invalidity_date=None)
            self.store.change_status(changed, at)
        return changed

    # -- CRLs --

    def make_crl(self, at: int, *, delta: bool = False, scope: CRLScope = CRLScope.COMPLETE) -> IssuedCRL:
        """Make a CRL with the next number; number and bytes are stored in one step before it is returned.

        A delta refers to the last full CRL of its scope. thisUpdate never goes back, though the clock may.

        Raises: IssuanceError when a delta is asked for and there is no full CRL yet.
        """
        settings = self.store.settings()
        signer = self.signer
        with self.store.transaction():
            base = self.store.last_crl(scope, delta=False)
            last = self.store.last_crl(scope)
            if delta and base is None:
                raise IssuanceError("no full CRL that a delta could refer to", hint="make one with `vouchd ca crl`")
            this_update = at if last is None else max(at, last.this_update)
            header = CRLHeader(
                number=self.store.next_crl_number(),
                this_update=this_update,
                next_update=this_update + (settings.delta_seconds if delta else settings.crl_seconds),
                scope=scope,
                base_number=base.number if delta and base else None,
                delta_url=settings.delta_url,
            )
            through_change = self.store.last_change()
            der, count = build_crl(
                header, self._entries(base, settings.include_expired, header), self.certificate, signer
            )
            crl = IssuedCRL(
                header.number, scope, header.base_number, this_update, header.next_update, through_change, count, der
            )
            self.store.add_crl(crl)
        return crl

    def _entries(self, base: IssuedCRL | None, include_expired: bool, header: CRLHeader) -> Iterable[CertificateRecord]:  # noqa: FBT001
        if base is not None and header.base_number is not None:
            return self.store.changed_after(base.through_change, header.scope)
        if base is None or include_expired:
            return self.store.not_valid(header.scope)
        return self.store.not_valid(header.scope, (base.this_update, base.through_change))

    def current_crl(self, *, delta: bool = False, scope: CRLScope = CRLScope.COMPLETE) -> IssuedCRL:
        """The newest full (or delta) CRL. Raises: NotFound when none was made."""
        crl = self.store.last_crl(scope, delta=delta)
        if crl is None:
            raise NotFound(
                f"no {'delta ' if delta else ''}CRL was made yet",
                hint=f"make one with `vouchd ca crl{' --delta' if delta else ''}`",
            )
        return crl


def _record(certificate: x509.Certificate, request: CertificateRequest, at: int) -> CertificateRecord:
    return CertificateRecord(
        serial=serial_octets(certificate),
        der=certificate.public_bytes(serialization.Encoding.DER),
        subject=certificate.subject.rfc4514_string(),
        profile=request.profile.value,
        is_ca=PROFILES[request.profile].is_ca,
        not_before=not_before(certificate),
        not_after=not_after(certificate),
        issued_at=at,
    )

"""A key of this instance certified by a Certificate System's CA, whose agent may have to approve first.

A request that was submitted is noted by the hash of what was asked, so that it is looked after until it is decided
and not submitted again; where an agent says no, the note goes, and the next attempt makes another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from vouchd.client.certsystem_requests import CertificateSystemRequests
from vouchd.errors import ClientError, NotFound, RefusedForNow, StoreUnavailable
from vouchd.files import read_file, replace_file
from vouchd.pkix.purposes import Purpose

# The stock profiles: for RSA keys, and for those on elliptic curves.
_PROFILES: Mapping[Purpose, tuple[str, str]] = {
    Purpose.OCSP_SIGNING: ("caOCSPCert", "caOCSPCert"),
    Purpose.TLS_SERVER: ("caServerCert", "caECServerCert"),
    Purpose.SUBSYSTEM: ("caSubsystemCert", "caECSubsystemCert"),
    Purpose.AUDIT_SIGNING: ("caAuditSigningCert", "caAuditSigningCert"),
    Purpose.ADMINISTRATOR: ("AdminCert", "AdminCert"),
}


@dataclass(frozen=True, slots=True)
class CertificateSystemEnrolment:
    """At the CA that `requests` asks; `notes` is a file, `approves`: as an agent of that CA."""

    requests: CertificateSystemRequests
    notes: Path
    approves: bool = False

    def enrol(self, csr_pem: bytes, purpose: Purpose, profile: str = "") -> bytes:
        """The certificate for the request (PEM); without a profile by the stock one for the purpose.

        Raises: RefusedForNow until an agent has approved; ClientError; PermissionDenied; ConfigError.
        """
        number = self._submitted(csr_pem, profile or _stock_profile(csr_pem, purpose))
        try:
            try:
                return self.requests.certificate(number)
            except RefusedForNow:
                if not self.approves:
                    raise
            self.requests.approve(number)
            return self.requests.certificate(number)
        except NotFound as error:
            self._note(csr_pem, "")
            raise ClientError(str(error), hint="the next attempt submits another request") from error

    def _submitted(self, csr_pem: bytes, profile: str) -> str:
        number = self._noted().get(self._name(csr_pem), "")
        if not number:
            number = self.requests.submit(csr_pem, profile)
            self._note(csr_pem, number)
        return number

    def _name(self, csr_pem: bytes) -> str:
        """What is asked, and of whom."""
        return hashlib.sha256(self.requests.url.encode() + b"\0" + csr_pem).hexdigest()

    def _noted(self) -> dict[str, str]:
        try:
            return {str(name): str(number) for name, number in json.loads(read_file(self.notes)).items()}
        except (FileNotFoundError, ValueError, AttributeError, StoreUnavailable):
            return {}

    def _note(self, csr_pem: bytes, number: str) -> None:
        notes = {**self._noted(), self._name(csr_pem): number}
        kept = {name: value for name, value in list(notes.items())[-_MAX_NOTES:] if value}
        replace_file(self.notes, json.dumps(kept).encode())


_MAX_NOTES = 100


def _stock_profile(csr_pem: bytes, purpose: Purpose) -> str:
    is_rsa = isinstance(x509.load_pem_x509_csr(csr_pem).public_key(), rsa.RSAPublicKey)
    return _PROFILES[purpose][0 if is_rsa else 1]

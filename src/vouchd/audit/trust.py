"""Whose signatures prove an audit log, and how one signer speaks for the next.

A process that goes on has the key before sign the record of the next certificate (`AuditSigning.succeed`), by which who
verifies the log comes from one to the other. Where the process was killed after `CS.cfg` had named the next, or none
was running when it was installed, nobody has spoken for the next one yet: the key before is in its file still, and
does so first (`vouch`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.audit.chain import AuditRecord
from vouchd.audit.log import ITSELF, AuditLog
from vouchd.audit.search import AuditQuery, AuditReader
from vouchd.audit.signing import SIGNING, AuditSigning, signed_octets
from vouchd.core.ports import Clock, Signer
from vouchd.pkix.certs import is_issued_by, load_certificate
from vouchd.pkix.signatures import ALGORITHMS, verify

SUCCESSION, SIGNER_NAME = "CONFIG_TRUSTED_PUBLIC_KEY", "audit_signing"  # the record of a certificate taken in


class Trust:
    """Trusts signers whose certificate is one of `certificates`, or is issued by one of them for signing logs.

    For signing logs is a certificate whose keyUsage has contentCommitment; those of servers and responders lack it.
    A signer that is trusted vouches for the one that comes after it: the log says when the instance takes the next
    certificate on, and that record is signed by the one before. Without `certificates` every certificate in the log is
    believed, which shows damage but no forgery.
    """

    def __init__(self, certificates: Iterable[x509.Certificate]) -> None:
        self._certificates = certificates = tuple(certificates)
        self._subjects: dict[bytes, str] = {}  # of certificates that are believed
        self._announced: set[str] = set()  # SHA-256 of certificates that records name as the next ones
        self._vouched: set[str] = set()  # those of them that somebody who is trusted has signed
        self._named = {_name(one.public_bytes(Encoding.DER)): one.public_bytes(Encoding.DER) for one in certificates}

    @property
    def anyone(self) -> bool:
        """Whether every signer is believed."""
        return not self._certificates

    def hear(self, record: AuditRecord) -> None:
        """A record that is in its place: one that names the next certificate counts when it is signed."""
        if record.event == SUCCESSION and record.detail.get("certificate") == SIGNER_NAME:
            self._announced.add(str(record.detail.get("sha256")))

    def check(self, record: AuditRecord) -> str:
        """The subject of the certificate that a signature was verified with. Raises: ValueError with what is wrong."""
        der, signature = self._certificate(record), _octets(record, "signature")
        algorithm = ALGORITHMS.get(str(record.detail.get("algorithm")))
        if algorithm is None:
            raise ValueError("a signature with an algorithm that is not known")
        subject = self._subjects.get(der)
        try:
            certificate = load_certificate(der)
        except ValueError as error:
            raise ValueError("a signature with a certificate that cannot be read") from error
        if subject is None:
            subject = self._subjects[der] = self._accept(certificate)
        verify(
            certificate.public_key(),
            algorithm.identifier_der,
            signature,
            signed_octets(record.seq - 1, record.previous),
        )
        self._vouched |= self._announced
        self._announced.clear()
        return subject

    def _certificate(self, record: AuditRecord) -> bytes:
        """DER of the certificate that a signature is by: in the record itself, or named by its SHA-256."""
        if "certificate" in record.detail:
            der = _octets(record, "certificate")
            self._named[_name(der)] = der
            return der
        try:
            return self._named[str(record.detail["signer"])]
        except KeyError as error:
            raise ValueError("a signature whose certificate stands in no record before it") from error

    def _accept(self, certificate: x509.Certificate) -> str:
        subject = certificate.subject.rfc4514_string()
        if self.anyone or certificate in self._certificates:
            return subject
        if _name(certificate.public_bytes(Encoding.DER)) in self._vouched:
            return subject
        if _commits(certificate) and any(is_issued_by(certificate, one) for one in self._certificates):
            return subject
        raise ValueError(f"a signature of {subject!r}, whom nothing says to trust")


def _name(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def _octets(record: AuditRecord, name: str) -> bytes:
    try:
        return base64.b64decode(str(record.detail[name]), validate=True)
    except (KeyError, binascii.Error) as error:
        raise ValueError(f"a signature without its {name}") from error


def _commits(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.content_commitment
    except (x509.ExtensionNotFound, ValueError):
        return False


def last_signer(log: AuditLog) -> str:
    """SHA-256 (hex) of the certificate that the log was signed with last; empty: never. Raises: StoreUnavailable."""
    signatures = AuditReader(log.path).search(AuditQuery(event=SIGNING), limit=1)
    return str(signatures[0].detail.get("signer", "")) if signatures else ""


def vouch(log: AuditLog, former: Signer, signer: Signer, clock: Clock) -> None:
    """Have `former` sign all up to here, with the record of the certificate that signs from now on.

    Raises: StoreUnavailable, SigningError.
    """
    name = hashlib.sha256(signer.certificate_der).hexdigest()
    if not AuditReader(log.path).search(AuditQuery(event=SUCCESSION, text=name), limit=1):
        log.record(SUCCESSION, ITSELF, "success", certificate=SIGNER_NAME, sha256=name)
    AuditSigning(log, former, clock).sign()

"""The facts of an OCSP response (RFC 6960 section 4.2.1) as a client reads them; nothing of it is verified yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from vouchd.core.facts import CertStatus
from vouchd.errors import OCSPResponseStatus
from vouchd.pkix import der
from vouchd.pkix.reasons import Reason
from vouchd.pkix.signatures import ALGORITHMS

NONCE = "1.3.6.1.5.5.7.48.1.2"
CRL_REFERENCE = "1.3.6.1.5.5.7.48.1.3"
ARCHIVE_CUTOFF = "1.3.6.1.5.5.7.48.1.6"
EXTENDED_REVOKE = "1.3.6.1.5.5.7.48.1.9"
INVALIDITY_DATE = "2.5.29.24"

EXTENSION_NAMES = {
    NONCE: "nonce",
    CRL_REFERENCE: "crlReference",
    ARCHIVE_CUTOFF: "archiveCutoff",
    EXTENDED_REVOKE: "extendedRevoke",
    INVALIDITY_DATE: "invalidityDate",
}

_SHA1_NAMES = {"1.2.840.113549.1.1.5": "SHA1withRSA", "1.2.840.10045.4.1": "SHA1withEC"}


class CertID(NamedTuple):
    """The certificate that is spoken of; equal when it is the same one, however the digest's parameters are written.

    `digest` is a name of core.signatures.DIGESTS, or the OID of another; `serial` the content octets of a DER INTEGER.
    """

    digest: str
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: bytes


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension; `value` is the DER inside extnValue."""

    oid: str
    critical: bool
    value: bytes

    @property
    def name(self) -> str:
        """Its name where it is known, else the OID."""
        return EXTENSION_NAMES.get(self.oid, self.oid)

    @property
    def time(self) -> int | None:
        """POSIX seconds of an extension that is one GeneralizedTime (archiveCutoff, invalidityDate), else None."""
        try:
            return der.time_seconds(self.value, der.whole(self.value, der.GENERALIZED_TIME))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class SingleResponse:
    """What is said of one certificate; `revocation_time` and `reason` only when it is revoked."""

    cert_id: CertID
    status: CertStatus
    this_update: int
    next_update: int | None
    revocation_time: int | None = None
    reason: Reason | None = None
    extensions: tuple[Extension, ...] = ()


@dataclass(frozen=True, slots=True)
class BasicResponse:
    """BasicOCSPResponse. Exactly one of `responder_name_der` and `responder_key_hash` is set.

    `response_data_der` is what `signature` is made over; `certificates` are DER, as sent.
    """

    response_data_der: bytes
    responder_name_der: bytes | None
    responder_key_hash: bytes | None
    produced_at: int
    singles: tuple[SingleResponse, ...]
    extensions: tuple[Extension, ...]
    algorithm_der: bytes
    signature: bytes
    certificates: tuple[bytes, ...]

    @property
    def algorithm(self) -> str:
        """The signature algorithm: a name of core.signatures.ALGORITHMS, or the OID of another."""
        return algorithm_name(self.algorithm_der)

    @property
    def nonce(self) -> bytes | None:
        """The nonce octets (RFC 9654), None when there is none."""
        value = next((extension.value for extension in self.extensions if extension.oid == NONCE), None)
        if value is None:
            return None
        try:
            return der.content(value, der.whole(value, der.OCTET_STRING))
        except ValueError:
            return value  # responders older than RFC 8954 put the bare octets there


@dataclass(frozen=True, slots=True)
class OCSPResponse:
    """A whole response; `basic` is None with an error status."""

    der: bytes
    status: OCSPResponseStatus
    basic: BasicResponse | None


def algorithm_name(identifier_der: bytes) -> str:
    """The name of a signature algorithm by its AlgorithmIdentifier, or its dotted OID. Raises: ValueError."""
    for row in ALGORITHMS.values():
        if row.identifier_der == identifier_der:
            return row.name
    first = next(der.children(identifier_der, der.whole(identifier_der, der.SEQUENCE)))
    oid = der.dotted(der.content(identifier_der, first))
    return _SHA1_NAMES.get(oid) or next((row.name for row in ALGORITHMS.values() if row.oid == oid), oid)

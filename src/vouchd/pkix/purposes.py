"""What an instance's own certificates are for, and whether one that comes for a purpose fits it (RFC 5280)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from vouchd.errors import SigningError
from vouchd.pkix import names
from vouchd.pkix.certs import (
    has_nocheck,
    is_issued_by,
    issuer_der,
    may_sign,
    not_after,
    not_before,
    subject_der,
    unknown_critical,
)

MAX_CHAIN = 8
_DAY = 86400
WARN_SECONDS = 30 * _DAY


class Purpose(StrEnum):
    """What a system certificate is for."""

    OCSP_SIGNING = "OCSP signing"
    TLS_SERVER = "TLS server"
    SUBSYSTEM = "subsystem"  # the instance's identity as a TLS client
    AUDIT_SIGNING = "audit signing"
    ADMINISTRATOR = "administrator"  # a person's: TLS client


@dataclass(frozen=True, slots=True)
class Usage:
    """What a certificate of a purpose has to carry: all of `extended`, and digitalSignature where there is keyUsage."""

    extended: tuple[x509.ObjectIdentifier, ...]
    content_commitment: bool = False  # asked for in requests; a certificate without it does as well


_OID = ExtendedKeyUsageOID
USAGES: dict[Purpose, Usage] = {
    Purpose.OCSP_SIGNING: Usage((_OID.OCSP_SIGNING,)),
    Purpose.TLS_SERVER: Usage((_OID.SERVER_AUTH,)),
    Purpose.SUBSYSTEM: Usage((_OID.CLIENT_AUTH,)),
    Purpose.AUDIT_SIGNING: Usage((), content_commitment=True),
    Purpose.ADMINISTRATOR: Usage((_OID.CLIENT_AUTH,)),
}


def check_purpose(certificate: x509.Certificate, purpose: Purpose, at: int) -> tuple[str, ...]:
    """Check usage and validity at `at` (POSIX seconds); returns what is doubtful but allowed, one line each.

    Raises: SigningError with what is wrong and how it is mended.
    """
    name = certificate.subject.rfc4514_string()
    if not not_before(certificate) <= at <= not_after(certificate):
        raise SigningError(
            f"the certificate {name!r} is not valid now",
            hint="compare its dates with the clock: openssl x509 -noout -dates -in FILE",
        )
    lacking = set(USAGES[purpose].extended) - _extended_usage(certificate)
    if lacking:
        names = " and ".join(sorted(_usage_name(usage) for usage in lacking))
        raise SigningError(
            f"the certificate {name!r} is not for {purpose}: extendedKeyUsage lacks {names}",
            hint=f"ask the CA for a certificate with extendedKeyUsage {names}",
        )
    if not may_sign(certificate):
        raise SigningError(
            f"the certificate {name!r} is not for {purpose}: its keyUsage lacks digitalSignature",
            hint="ask the CA for a certificate with keyUsage digitalSignature",
        )
    if unknown := unknown_critical(certificate):
        raise SigningError(
            f"the certificate {name!r} has a critical extension that clients do not know: {unknown}",
            hint="ask the CA for a certificate without it",
        )
    return tuple(_doubts(certificate, purpose))


def _doubts(certificate: x509.Certificate, purpose: Purpose) -> Iterable[str]:
    if purpose is Purpose.OCSP_SIGNING and not has_nocheck(certificate):
        yield "no id-pkix-ocsp-nocheck: clients will ask for the signer's own status"
    if purpose is Purpose.TLS_SERVER and not _has_names(certificate):
        yield "no subjectAltName: browsers refuse a server certificate without one"
    if is_issued_by(certificate, certificate):
        yield "self-signed: each client has to trust the certificate itself"


class Issuers:
    """Certificates by their subject, so that an issuer among many is found without a look at the others.

    Those of `beyond` come after these.
    """

    def __init__(self, certificates: Iterable[x509.Certificate], beyond: Issuers | None = None) -> None:
        self._by_subject: dict[bytes, list[x509.Certificate]] = {}
        for certificate in certificates:
            self._by_subject.setdefault(names.canonical(subject_der(certificate)), []).append(certificate)
        self._beyond = beyond

    def named(self, certificate: x509.Certificate) -> list[x509.Certificate]:
        """Those that have the name of the certificate's issuer."""
        ours = self._by_subject.get(names.canonical(issuer_der(certificate)), [])
        return [*ours, *(self._beyond.named(certificate) if self._beyond else ())]

    def __contains__(self, certificate: x509.Certificate) -> bool:
        """Whether it is one of them."""
        ours = self._by_subject.get(names.canonical(subject_der(certificate)), [])
        return certificate in ours or (self._beyond is not None and certificate in self._beyond)


def chain_of(
    certificate: x509.Certificate, bundle: Iterable[x509.Certificate], anchors: Issuers, at: int
) -> tuple[x509.Certificate, ...]:
    """The CAs above `certificate` in order, up to a self-signed one or at least to one of `anchors`.

    They are found in `bundle` and `anchors`; each is a CA, valid at `at` (POSIX seconds), and signed what stands below.

    Raises: SigningError when the chain is broken or longer than 8.
    """
    pool, current = Issuers(bundle, anchors), certificate
    chain: list[x509.Certificate] = []
    while True:
        named = pool.named(current)
        is_alone = all(one == current for one in named)  # self-signed or not, nothing is above it
        if (is_alone and current in anchors) or is_issued_by(current, current):
            break
        issuers = [one for one in named if is_issued_by(current, one)]
        if not issuers:
            if current in anchors:
                break
            raise SigningError(
                f"the issuer {current.issuer.rfc4514_string()!r} of {current.subject.rfc4514_string()!r} is not known",
                hint="give the certificates of the CAs above too, up to the root: --chain FILE",
            )
        current = _usable(issuers, at)
        chain.append(current)
        if len(chain) > MAX_CHAIN:
            raise SigningError(f"the certificate chain is longer than {MAX_CHAIN}")
    return tuple(chain)


def _usable(issuers: Sequence[x509.Certificate], at: int) -> x509.Certificate:
    """That of the certificates of one issuer that may be relied upon."""
    for issuer in issuers:
        if is_ca(issuer) and not_before(issuer) <= at <= not_after(issuer):
            return issuer
    name = issuers[0].subject.rfc4514_string()
    raise SigningError(f"{name!r} in the chain is not a CA, or not valid now", hint="ask the CA for its current chain")


class ValidityState(StrEnum):
    """What a certificate's validity means at one moment."""

    NOT_YET = "not valid yet"
    VALID = "valid"
    ENDS_SOON = "ends soon"  # within 30 days, or a third of its life
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Validity:
    """First and last second of a certificate, POSIX."""

    not_before: int
    not_after: int

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Validity:
        """The validity of `certificate`."""
        return cls(not_before(certificate), not_after(certificate))

    def holds(self, at: int) -> bool:
        """Whether it has begun and not ended: `state` is neither NOT_YET nor EXPIRED."""
        return self.not_before <= at < self.not_after

    def state(self, at: int) -> ValidityState:
        """THE rule, for readiness, pages, commands and log."""
        if at >= self.not_after:
            return ValidityState.EXPIRED
        if at < self.not_before:
            return ValidityState.NOT_YET
        soon = min(WARN_SECONDS, (self.not_after - self.not_before) // 3)
        return ValidityState.ENDS_SOON if self.not_after - at <= soon else ValidityState.VALID

    def warning(self, at: int) -> str:
        """Words on a certificate that is not plainly valid; else empty."""
        left = self.not_after - at
        match self.state(at):
            case ValidityState.EXPIRED:
                return "has expired"
            case ValidityState.NOT_YET:
                return f"is not valid for another {(self.not_before - at) // 60 + 1} minutes"
            case ValidityState.ENDS_SOON:
                return f"expires in {left // _DAY} days" if left >= 2 * _DAY else f"expires in {left // 3600} hours"
            case _:
                return ""


def expiry_warning(certificate: x509.Certificate, at: int) -> str:
    """See Validity.warning."""
    return Validity.of(certificate).warning(at)


def _extended_usage(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (x509.ExtensionNotFound, ValueError):
        return set()


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether it says that its subject issues certificates."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _has_names(certificate: x509.Certificate) -> bool:
    try:
        return bool(list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value))
    except (x509.ExtensionNotFound, ValueError):
        return False


def _usage_name(usage: x509.ObjectIdentifier) -> str:
    return {_OID.OCSP_SIGNING: "OCSPSigning", _OID.SERVER_AUTH: "serverAuth", _OID.CLIENT_AUTH: "clientAuth"}[usage]

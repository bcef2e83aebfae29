"""The choices of an operator on how requests are treated and answers are made, for the instance and for one CA."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vouchd.core.facts import AuthorityPolicy, ExpiredCRLPolicy


class NoncePolicy(StrEnum):
    """What is done with a nonce (RFC 9654)."""

    ECHO = "echo"  # returned when sent
    IGNORE = "ignore"  # never returned: every answer can be cached
    FORBID = "forbid"  # a request with a nonce is unauthorized
    REQUIRE = "require"  # a request without one is malformed


class RequestSignaturePolicy(StrEnum):
    """What is done with the optional signature of a request (RFC 6960 section 4.1.2)."""

    IGNORE = "ignore"
    VERIFY = "verify"  # an unsigned request is answered, a signed one must be by a trusted requestor
    REQUIRE = "require"


class UnknownIssuerPolicy(StrEnum):
    """What a CertID of an issuer that is not ours gets."""

    UNAUTHORIZED = "unauthorized"
    UNKNOWN = "unknown"  # a signed `unknown`


class AnswerRecords(StrEnum):
    """Which answers leave an OCSP_GENERATION record in the audit log."""

    NONE = "none"
    ALL = "all"  # errors of the responder too
    REVOKED = "revoked"  # answers that tell of a revoked certificate
    SAMPLED = "sampled"  # one in so many


class ClientAddress(StrEnum):
    """How an OCSP client's address stands in the audit log."""

    NONE = "none"
    TRUNCATED = "truncated"  # IPv4 to /24, IPv6 to /48
    HASHED = "hashed"  # with a key that is made at the start of the instance and kept nowhere
    FULL = "full"


@dataclass(frozen=True, slots=True)
class ResponsePolicy:
    """How the instance treats requests and makes answers; a CA's own AuthorityPolicy goes before where it speaks."""

    nonce: NoncePolicy = NoncePolicy.ECHO
    signature: RequestSignaturePolicy = RequestSignaturePolicy.IGNORE
    requestor_trust: tuple[bytes, ...] = ()  # DER certificates: of requestors, or of the CAs that issue theirs
    max_cert_ids: int = 100
    max_request_bytes: int = 65536
    reject_algorithms: frozenset[str] = frozenset()  # CertID digests refused as malformed, e.g. "SHA-1"
    by_name: bool = False  # ResponderID by name instead of by key
    send_root: bool = False  # a self-signed root among the certificates sent along
    unknown_issuer: UnknownIssuerPolicy = UnknownIssuerPolicy.UNAUTHORIZED
    not_found_as_good: bool = True
    include_next_update: bool = True
    reasons: bool = True  # revocationReason; the Certificate System's own clients cannot read it
    expired_crl: ExpiredCRLPolicy = ExpiredCRLPolicy.TRY_LATER

    def not_found_as_good_for(self, own: AuthorityPolicy) -> bool:
        """Whether a serial that no CRL of the CA lists is `good`."""
        return self.not_found_as_good if own.not_found_as_good is None else own.not_found_as_good

    def include_next_update_for(self, own: AuthorityPolicy) -> bool:
        """Whether answers for the CA tell nextUpdate."""
        return self.include_next_update if own.include_next_update is None else own.include_next_update

    def reasons_for(self, own: AuthorityPolicy) -> bool:
        """Whether answers for the CA tell why a certificate was revoked."""
        return self.reasons if own.reasons is None else own.reasons

    def expired_crl_for(self, own: AuthorityPolicy) -> ExpiredCRLPolicy:
        """What is answered for the CA when its CRL has passed nextUpdate."""
        return own.expired_crl or self.expired_crl

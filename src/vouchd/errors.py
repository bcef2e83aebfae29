"""Every error a caller may catch, and the one table from error to OCSP status, HTTP status and exit code.

The family says whose fault it is: `RequestError` the OCSP client's, `CRLError` the publisher's, `ConfigError` the
administrator's, `StoreError` and `SigningError` this host's. A message never holds a secret.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum


class OCSPResponseStatus(IntEnum):
    """OCSPResponseStatus of RFC 6960 section 4.2.1 (4 is not used there)."""

    SUCCESSFUL = 0
    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    SIG_REQUIRED = 5
    UNAUTHORIZED = 6


class VouchdError(Exception):
    """Root of all errors of this program; `hint` tells what to do about it (one line, may be empty)."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class RequestError(VouchdError):
    """An OCSP request that gets an error status; `cause` is a short stable word for metrics."""

    cause = "request"


class MalformedRequest(RequestError):
    """Not an OCSPRequest in DER, or one that breaks a MUST of RFC 6960 or RFC 9654."""

    cause = "malformed"


class SignatureRequired(RequestError):
    """The policy asks for signed requests and this one is not signed."""

    cause = "unsigned"


class Unauthorized(RequestError):
    """A CertID of an issuer that this responder does not answer for, or a requestor that may not ask."""

    cause = "unauthorized"


class TryLater(RequestError):
    """No fresh answer can be given now: no CRL yet, a CRL past its nextUpdate, or too many signatures under way."""

    cause = "try_later"

    def __init__(self, message: str, *, hint: str = "", cause: str = "try_later") -> None:
        super().__init__(message, hint=hint)
        self.cause = cause


class CRLError(VouchdError):
    """A CRL that was not taken; what was stored before stays."""


class CRLRejected(CRLError):
    """Unreadable, not signed by its CA, of a scope or with a critical extension that is not supported."""


NOTHING_TO_DO = "nothing needs to be done"


class CRLStale(CRLError):
    """Older than, or the same as, the CRL already held; the same is no failure, and its hint says so."""

    @property
    def changes_nothing(self) -> bool:
        """Whether what the CRL tells is held already."""
        return self.hint == NOTHING_TO_DO


class CRLForked(CRLError):
    """The CRL number is already held with other bytes."""


class CRLOutOfOrder(CRLError):
    """A delta CRL whose base is not held."""


class CRLQuarantined(CRLError):
    """Held back because of an abnormal change in its entries, until an operator releases it."""


class SourceError(VouchdError):
    """A CRL could not be fetched from its source."""


class StoreError(VouchdError):
    """The store did not do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached now; it acknowledged nothing, so what was asked may be asked again."""


class StoreConflict(StoreError):
    """Another writer was quicker; nothing was changed."""


class NotFound(StoreError):
    """What was named is not there."""


class AlreadyExists(StoreError):
    """What was to be made is there already."""


class LastAdministrator(StoreError):
    """No enabled user would be left in the group Administrators; nothing was changed."""


class IndexFileError(StoreError):
    """An index file is damaged or of another version; it can be rebuilt from the store."""


class SigningError(VouchdError):
    """A key or certificate cannot be used for signing."""


class TokenUnavailable(SigningError):
    """The token that holds the key cannot be used now, or did not sign in time; it is tried again by itself."""


class PartFails(SigningError):
    """A part of the instance cannot be used; it costs what rests upon it, and all else goes on."""


class ConfigError(VouchdError):
    """A setting is unknown or malformed; the message starts with file and line where there is one."""


class NoFitSigner(ConfigError):
    """No signer of this instance may answer for a CA."""


class UnlistedCertificates(ConfigError):
    """A list of issued serials lacks certificates of this set, which would be refused; nothing was changed."""


class BadInput(VouchdError):
    """What was sent to the agent port is not in the form that its interface describes."""


class LifecycleError(VouchdError):
    """A step of creating, starting or stopping an instance failed; the hint says how to go on."""


class RestartRefused(LifecycleError):
    """The instance goes on as it is: what is there now would not start."""


class ClientError(VouchdError):
    """A server did not give a usable answer."""


class RefusedForNow(ClientError):
    """A server says that it cannot take something at the moment; the same may be sent again later."""


class VerificationError(ClientError):
    """An answer came but cannot be relied upon: signature, signer's authority, nonce or freshness."""


class AuditLogBroken(VouchdError):
    """The audit log is not as it was written, or not proved as far as was asked for."""


class IssuanceError(VouchdError):
    """The certificate manager refused to issue, revoke or publish."""


class PermissionDenied(VouchdError):
    """The caller may not do this."""


class ApprovalPending(VouchdError):
    """What was asked for is not done: a second agent has to approve it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an error is shown on each surface."""

    ocsp_status: OCSPResponseStatus
    http_status: int
    exit_code: int


_INTERNAL = Outcome(OCSPResponseStatus.INTERNAL_ERROR, 500, 70)

# Looked up along the class hierarchy, so a subclass without a row of its own shares its parent's.
OUTCOMES: dict[type[BaseException], Outcome] = {
    MalformedRequest: Outcome(OCSPResponseStatus.MALFORMED_REQUEST, 400, 65),
    SignatureRequired: Outcome(OCSPResponseStatus.SIG_REQUIRED, 401, 77),
    Unauthorized: Outcome(OCSPResponseStatus.UNAUTHORIZED, 403, 77),
    TryLater: Outcome(OCSPResponseStatus.TRY_LATER, 503, 75),
    CRLError: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 422, 65),
    CRLQuarantined: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 202, 75),
    SourceError: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 502, 69),
    StoreUnavailable: Outcome(OCSPResponseStatus.TRY_LATER, 503, 75),
    StoreConflict: Outcome(OCSPResponseStatus.TRY_LATER, 409, 75),
    NotFound: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 404, 66),
    AlreadyExists: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 409, 73),
    IndexFileError: Outcome(OCSPResponseStatus.TRY_LATER, 503, 75),
    LastAdministrator: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 409, 77),
    SigningError: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 500, 70),
    TokenUnavailable: Outcome(OCSPResponseStatus.TRY_LATER, 503, 75),
    ConfigError: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 400, 78),
    UnlistedCertificates: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 409, 78),
    BadInput: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 400, 65),
    LifecycleError: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 500, 1),
    RestartRefused: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 409, 1),
    ClientError: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 502, 69),
    RefusedForNow: Outcome(OCSPResponseStatus.TRY_LATER, 503, 75),
    VerificationError: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 502, 76),
    AuditLogBroken: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 500, 76),
    IssuanceError: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 422, 65),
    PermissionDenied: Outcome(OCSPResponseStatus.UNAUTHORIZED, 403, 77),
    ApprovalPending: Outcome(OCSPResponseStatus.INTERNAL_ERROR, 202, 75),
}


def outcome(error: BaseException) -> Outcome:
    """How `error` is shown; anything not in the table is a bug of ours and shown as an internal error."""
    if isinstance(error, CRLStale) and error.changes_nothing:
        return replace(OUTCOMES[CRLError], exit_code=0)  # a nightly job stays green
    return next((OUTCOMES[cls] for cls in type(error).__mro__ if cls in OUTCOMES), _INTERNAL)

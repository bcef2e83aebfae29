"""May this answer be relied upon? Signature, the signer's authority, CertID, nonce, freshness (RFC 6960 section 3.2).

Pure: the moment is an argument, nothing is fetched. Each reason for refusal has a message of its own.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509

from vouchd.client.authority import SignerRole, find_signer, signer_warnings
from vouchd.client.response_facts import EXTENSION_NAMES, BasicResponse, CertID, OCSPResponse, SingleResponse
from vouchd.errors import ClientError, OCSPResponseStatus, VerificationError


class NonceRule(StrEnum):
    """What is made of an answer without the nonce that was sent; one with another nonce is always refused."""

    ACCEPT = "accept"
    WARN = "warn"  # RFC 9654: a responder may leave it out; then only thisUpdate tells the age
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class Terms:
    """What an answer has to meet.

    `tolerance_seconds` is allowed between the clocks of both sides. `max_age_seconds` refuses a thisUpdate that lies
    further back, whatever nextUpdate says. `trusted_signers` are DER certificates that may sign for any CA.
    """

    nonce: NonceRule = NonceRule.WARN
    tolerance_seconds: int = 300
    max_age_seconds: int | None = None
    trusted_signers: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """An answer that may be relied upon: one SingleResponse for each CertID asked, in the order asked."""

    singles: tuple[SingleResponse, ...]
    signer: x509.Certificate
    role: SignerRole
    algorithm: str
    warnings: tuple[str, ...]


def verify_response(
    response: OCSPResponse,
    issuer: x509.Certificate,
    cert_ids: Sequence[CertID],
    *,
    nonce: bytes | None,
    at: int,
    terms: Terms | None = None,
) -> Verified:
    """Check everything a client relies upon, `at` being the moment in POSIX seconds.

    `cert_ids` and `nonce` are what was asked, all of certificates of `issuer`.

    Raises: ClientError when the answer is an error status; VerificationError when it is not to be relied upon.
    """
    terms = terms or Terms()
    basic = require_answer(response)
    _refuse_critical(basic)
    signer, role = find_signer(basic, issuer, terms.trusted_signers, at)
    warnings = signer_warnings(basic, signer, role) + _check_nonce(basic, nonce, terms.nonce)
    singles = tuple(_find(basic, cert_id) for cert_id in cert_ids)
    for single in singles:
        warnings += _check_fresh(single, at, terms)
    return Verified(singles, signer, role, basic.algorithm, tuple(dict.fromkeys(warnings)))


def require_answer(response: OCSPResponse) -> BasicResponse:
    """The basic response of a successful answer. Raises: ClientError for an error status, with what it means."""
    if response.basic is None:
        hint = {
            OCSPResponseStatus.MALFORMED_REQUEST: "the request could not be read, or its digest is not taken",
            OCSPResponseStatus.TRY_LATER: "the responder has no current CRL of this CA, or is too busy",
            OCSPResponseStatus.SIG_REQUIRED: "the responder answers signed requests only",
            OCSPResponseStatus.UNAUTHORIZED: "the responder does not answer for this CA: is it the right issuer?",
        }.get(response.status, "look into the responder's log")
        raise ClientError(f"the responder answers {status_name(response.status)}", hint=hint)
    return response.basic


def status_name(status: OCSPResponseStatus) -> str:
    """The name that RFC 6960 gives the status: `tryLater` for TRY_LATER."""
    first, *rest = status.name.lower().split("_")
    return first + "".join(word.capitalize() for word in rest)


def _refuse_critical(basic: BasicResponse) -> None:
    extensions = list(basic.extensions)
    for single in basic.singles:
        extensions += single.extensions
    for extension in extensions:
        if extension.critical and extension.oid not in EXTENSION_NAMES:
            raise VerificationError(f"the answer has a critical extension that is not understood: {extension.oid}")


def _check_nonce(basic: BasicResponse, sent: bytes | None, rule: NonceRule) -> list[str]:
    nonce = basic.nonce
    if sent is None:
        return []
    if nonce is not None:
        if not hmac.compare_digest(nonce, sent):
            raise VerificationError("the nonce is not the one that was sent", hint="the answer was replayed")
        return []
    if rule is NonceRule.REQUIRE:
        raise VerificationError(
            "the answer does not repeat the nonce",
            hint="responders that sign ahead leave it out; allow that, or use none",
        )
    return ["the answer does not repeat the nonce"] if rule is NonceRule.WARN else []


def _find(basic: BasicResponse, cert_id: CertID) -> SingleResponse:
    matches = [single for single in basic.singles if single.cert_id == cert_id]
    if not matches:
        raise VerificationError(
            f"nothing is said of the certificate that was asked for (serial {cert_id.serial.hex()})",
            hint="the answer is for another certificate, issuer or digest",
        )
    if len(matches) > 1:
        raise VerificationError(f"more than one thing is said of the certificate with serial {cert_id.serial.hex()}")
    return matches[0]


def _check_fresh(single: SingleResponse, at: int, terms: Terms) -> list[str]:
    if single.this_update > at + terms.tolerance_seconds:
        raise VerificationError("thisUpdate lies in the future", hint="do the clocks of both hosts agree?")
    if single.next_update is not None and single.next_update < single.this_update:
        raise VerificationError("nextUpdate lies before thisUpdate")
    if single.next_update is not None and single.next_update < at - terms.tolerance_seconds:
        raise VerificationError(
            "the answer is out of date: nextUpdate has passed", hint="the responder needs a new CRL"
        )
    if terms.max_age_seconds is not None and at - single.this_update > terms.max_age_seconds + terms.tolerance_seconds:
        raise VerificationError(f"the answer is older than {terms.max_age_seconds} s")
    if single.next_update is None and terms.max_age_seconds is None:
        return ["the answer has no nextUpdate: nothing says how long it holds"]
    return []

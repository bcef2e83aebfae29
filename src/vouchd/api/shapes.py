"""Models that several parts of the API share, beside what makes them of facts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import UNSET, Meta, Struct, UnsetType

from vouchd.api.model import (
    PEM,
    SHA256,
    AuthorityId,
    Count,
    Moment,
    Origin,
    ScopeId,
    SentBundle,
    Serial,
    Words,
    about,
)
from vouchd.core import facts
from vouchd.core.records import rfc3339
from vouchd.errors import BadInput, SigningError
from vouchd.pkix import certs
from vouchd.pkix.reasons import Reason, reason_text
from vouchd.pkix.scope import Scope
from vouchd.pkix.signatures import ALGORITHMS

MAX_SERIAL_OCTETS = 64
_BUNDLE = "PEM, or base64 of DER or of PKCS #7."
T = TypeVar("T")


class Problem(Struct, frozen=True):
    """An error: a problem document of RFC 9457."""

    type: Annotated[str, about("Always `about:blank`: `error` tells the kind.", "about:blank")]
    title: Annotated[str, about("What is wrong, for people.", "no such user")]
    status: Annotated[int, about("The HTTP status.", 404)]
    error: Annotated[str, about("The stable name of the error, for programs.", "NotFound")]
    instance: Annotated[str, about("The path of the request.", "/api/v1/users/nobody")]
    hint: Annotated[str | UnsetType, about("What to do about it.", "GET /api/v1/users lists those there are")] = UNSET


class CRL(Struct, frozen=True):
    """A CRL as it was taken in."""

    sha256: Annotated[SHA256, about("SHA-256 of its DER, hexadecimal.")]
    bytes: Annotated[Count, about("Its size.", 1187)]
    crl_number: Annotated[int | None, about("Its CRL number (RFC 5280 section 5.2.3); null: it has none.", 42)]
    base_crl_number: Annotated[int | None, about("Of a delta CRL: the number of the base that it is for.", 40)]
    this_update: Annotated[Moment, about("thisUpdate of the CRL.")]
    next_update: Annotated[Moment | None, about("nextUpdate of the CRL; null: it names none.")]
    entries: Annotated[Count, about("How many certificates it lists.", 12)]


Kind = Literal["users", "CAs", "attribute certificates"]


class IssuingPoint(Struct, frozen=True):
    """A CRL issuing point of a CA with the CRL in use."""

    authority: Annotated[AuthorityId, about("The id of the CA.")]
    scope: Annotated[ScopeId, about("`complete`, or the id of a partitioned CRL's scope.")]
    sequence: Annotated[Count, about("The number of this state; it rises with each CRL taken.", 3)]
    crl_number: Annotated[int | None, about("The number of the newest CRL, a delta if there is one.", 42)]
    this_update: Annotated[Moment, about("thisUpdate of the newest CRL.")]
    next_update: Annotated[Moment | None, about("nextUpdate of the newest CRL; null: it names none.")]
    expired: Annotated[bool, about("Whether nextUpdate has passed.")]
    accepted_at: Annotated[Moment, about("When the CRL was taken in.")]
    origin: Annotated[Origin, about("Whence it came.")]
    lower_number_reason: Annotated[Words, about("Why an administrator had it taken with a lower number; else empty.")]
    entries: Annotated[Count, about("Revoked certificates, of base and delta together.", 12)]
    base: Annotated[CRL, about("The complete CRL.")]
    delta: Annotated[CRL | None, about("The delta CRL on top of it.")]
    only: Annotated[list[Kind], about("The kinds of certificates that it is for; none: all.", [])]
    reasons: Annotated[list[str], about("The reasons that it is for; none: all.", ["key_compromise"])]
    indirect: Annotated[bool, about("Whether it lists certificates of other CAs too.")]


class QuarantinedCRL(Struct, frozen=True):
    """A CRL held back because it changes too much."""

    authority: Annotated[AuthorityId, about("The id of the CA.")]
    scope: Annotated[ScopeId, about("`complete`, or the id of a partitioned CRL's scope.")]
    crl: Annotated[CRL, about("The CRL.")]
    received_at: Annotated[Moment, about("When it came.")]
    origin: Annotated[Origin, about("Whence it came.")]
    why: Annotated[str, about("Why it is held back.", "loses 40 of 50 entries (80 %), more than 10 %")]


class Certificate(Struct, frozen=True):
    """A certificate."""

    sha256: Annotated[SHA256, about("SHA-256 of its DER, hexadecimal.")]
    subject: Annotated[str, about("Its subject as RFC 4514 writes it.", "CN=Alice,O=Example")]
    issuer: Annotated[str, about("Its issuer.", "CN=Example CA,O=Example")]
    serial: Annotated[Serial, about("Its serial number.")]
    not_before: Annotated[Moment, about("From when it is valid.")]
    not_after: Annotated[Moment, about("Until when it is valid.")]
    pem: Annotated[PEM, about("The certificate itself.")]


class NewKey(Struct, frozen=True, forbid_unknown_fields=True):
    """What a new key of the instance or of the set, and the request for its certificate, are to be."""

    subject: Annotated[
        Annotated[str, Meta(min_length=1, max_length=400)] | UnsetType,
        about("Its subject as RFC 4514 writes it; without it as now.", "CN=ocsp.example.org,O=Example"),
    ] = UNSET
    algorithm: Annotated[
        Annotated[str, Meta(extra_json_schema={"enum": list(ALGORITHMS)})] | UnsetType,
        about("The signature algorithm, which decides the kind of the key; without it as now.", "SHA256withEC"),
    ] = UNSET
    same_key: Annotated[bool, about("Keep the present key instead of a new one.")] = False

    def __post_init__(self) -> None:
        if self.algorithm is not UNSET and self.algorithm not in ALGORITHMS:
            raise ValueError(f"Expected as algorithm one of {', '.join(ALGORITHMS)}")


class CertifiedKey(Struct, frozen=True, forbid_unknown_fields=True):
    """The certificate of such a key, to be taken in."""

    certificate: Annotated[SentBundle, about(f"The certificate, which may bring its chain: {_BUNDLE}")]
    chain: Annotated[SentBundle | UnsetType, about(f"The CAs above it: {_BUNDLE}")] = UNSET


def moment(at: int) -> str:
    """POSIX seconds as RFC 3339."""
    return rfc3339(at)


def maybe_moment(at: int | None) -> str | None:
    """The same, None stays None."""
    return None if at is None else moment(at)


def posix(text: str, name: str) -> int:
    """POSIX seconds of RFC 3339 text, UTC when it names no offset. Raises: BadInput."""
    try:
        instant = datetime.fromisoformat(text)
        return int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{name} is not a time", hint="write it as 2026-11-24T05:41:44Z") from error


def serial_text(serial: bytes) -> str:
    """DER INTEGER content octets as hexadecimal with `0x`."""
    return hex(int.from_bytes(serial, "big", signed=True))


def serial_octets(text: str) -> bytes:
    """DER INTEGER content octets of a serial in hexadecimal, with `0x` or colons or neither. Raises: BadInput."""
    digits = text.strip().lower().removeprefix("0x").replace(":", "")
    if not (digits.isascii() and digits.isalnum()) or len(digits) > 2 * MAX_SERIAL_OCTETS:
        raise BadInput("not a serial number", hint="write it in hexadecimal, as 0x52a1c7")
    try:
        number = int(digits, 16)
    except ValueError as error:
        raise BadInput("not a serial number", hint="write it in hexadecimal, as 0x52a1c7") from error
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def reason(revocation_reason: Reason) -> str:
    """The standard's name of a revocation reason, `absent` where the CRL gives none."""
    return reason_text(revocation_reason)


def crl(crl_record: facts.CRLRecord) -> CRL:
    """What is shown of a CRL."""
    return CRL(
        sha256=crl_record.sha256,
        bytes=crl_record.size_bytes,
        crl_number=crl_record.crl_number,
        base_crl_number=crl_record.base_crl_number,
        this_update=moment(crl_record.this_update),
        next_update=maybe_moment(crl_record.next_update),
        entries=crl_record.entry_count,
    )


def issuing_point(epoch: facts.Epoch, at: int) -> IssuingPoint:
    """The issuing point that `epoch` is the present state of; whether its nextUpdate has passed at POSIX time `at`."""
    scope = Scope.from_idp(epoch.idp_der)
    return IssuingPoint(
        authority=epoch.issuing_point.authority_id,
        scope=epoch.issuing_point.scope_id,
        sequence=epoch.sequence,
        crl_number=epoch.newest.crl_number,
        this_update=moment(epoch.this_update),
        next_update=maybe_moment(epoch.next_update),
        expired=epoch.next_update is not None and epoch.next_update <= at,
        accepted_at=moment(epoch.accepted_at),
        origin=epoch.origin,
        lower_number_reason=epoch.renumbering,
        entries=epoch.entry_count,
        base=crl(epoch.base),
        delta=crl(epoch.delta) if epoch.delta else None,
        only=_kinds(scope),
        reasons=sorted(one.name.lower() for one in scope.only_some_reasons or ()),
        indirect=scope.indirect,
    )


def _kinds(scope: Scope) -> list[Kind]:
    kinds: dict[Kind, bool] = {
        "users": scope.only_user,
        "CAs": scope.only_ca,
        "attribute certificates": scope.only_attribute,
    }
    return [kind for kind, only in kinds.items() if only]


def quarantined(quarantined_crl: facts.QuarantinedCRL) -> QuarantinedCRL:
    """What is shown of a CRL that is held back."""
    return QuarantinedCRL(
        authority=quarantined_crl.issuing_point.authority_id,
        scope=quarantined_crl.issuing_point.scope_id,
        crl=crl(quarantined_crl.record),
        received_at=moment(quarantined_crl.received_at),
        origin=quarantined_crl.origin,
        why=quarantined_crl.why,
    )


def certificate(der: bytes, sha256: str) -> Certificate:
    """What is shown of the certificate whose DER has that SHA-256."""
    cert = certs.load_certificate(der)
    return Certificate(
        sha256=sha256,
        subject=cert.subject.rfc4514_string(),
        issuer=cert.issuer.rfc4514_string(),
        serial=serial_text(certs.serial_octets(cert)),
        not_before=moment(certs.not_before(cert)),
        not_after=moment(certs.not_after(cert)),
        pem=pem(cert),
    )


def pem(cert: x509.Certificate) -> str:
    """The certificate as PEM."""
    return cert.public_bytes(Encoding.PEM).decode()


def refused_as_input(act: Callable[[], T]) -> T:
    """What `act` returns; a certificate or request that does not serve is the caller's fault, not this host's."""
    try:
        return act()
    except SigningError as error:
        raise BadInput(str(error), hint=error.hint) from error

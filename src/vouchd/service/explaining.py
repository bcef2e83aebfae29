"""Why a serial is answered as it is: the same decision as answering, told with what it rests on.

No status is decided here: `core.status.Verdicts` are asked with the state and policy that answering uses, so that an
explanation cannot differ from the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vouchd.core.facts import Authority, CertStatus
from vouchd.core.policy import ResponsePolicy, UnknownIssuerPolicy
from vouchd.core.status import Decision, ServingAuthority, ServingPoint, ServingState, Verdicts, expired
from vouchd.errors import TryLater
from vouchd.pkix import certs
from vouchd.pkix.reasons import RevocationEntry
from vouchd.service.cover import cover_notice
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.service.signer_choice import candidates, expiry
from vouchd.service.signer_revocations import SignerRevocations, revocation

UNAUTHORIZED = "unauthorized"
TRY_LATER = "tryLater"


@dataclass(frozen=True, slots=True)
class ExaminedPoint:
    """One issuing point of the CA: its CRLs, what it says of the serial and whether the answer rests on it.

    `stale` means that its nextUpdate has passed.
    """

    point: ServingPoint
    entry: RevocationEntry | None
    relied_upon: bool
    stale: bool


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """The settings that bear on this CA's answers, those of the CA merged over the instance's."""

    not_found_as_good: bool
    include_next_update: bool
    reasons: bool
    expired_crl: str
    extended_revoke: bool
    issued_serials_known: bool
    expected_scopes: tuple[str, ...]
    by_name: bool


@dataclass(frozen=True, slots=True)
class Signers:
    """The instance's signing certificates (DER) by nickname, and the nickname of the default."""

    certificates: SignerCertificates
    default: str

    def choose(self, authority: Authority, at: int, key: str, revocations: SignerRevocations) -> str:
        """The signer for what that key of the CA has issued, as `SignerChoice` chooses it.

        Raises: TryLater when answering has none at `at`; IndexFileError.
        """
        named = authority.policy.signer or self.default
        ends = candidates(authority, key, self.certificates, self.default)
        revoked = {nickname for nickname in ends if revocations.is_revoked(nickname)}
        if named in revoked:
            raise revocation()
        ends = {nickname: end for nickname, end in ends.items() if nickname not in revoked}
        if not ends and named in self.certificates:
            raise TryLater("the signer may not answer for this CA", hint="have the CA certify it for OCSP signing")
        if not ends:
            raise TryLater("the signer of this CA cannot sign", hint=f"see `vouchd certs list` on {named!r}")
        for nickname, end in ends.items():
            if certs.not_before(certs.load_certificate(self.certificates[nickname])) <= at <= end:
                return nickname
        nickname, end = next(iter(ends.items()))
        certificate = certs.load_certificate(self.certificates[nickname])
        if at < certs.not_before(certificate):
            raise TryLater("the signing certificate is not valid yet", cause="expired_signer")
        raise expiry(end, certs.not_after(certificate))


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for one serial and its grounds.

    `answer` is good, revoked or unknown, or the error status `tryLater` or `unauthorized`. `decision` is None with an
    error status and for an issuer that is not ours; `authority` and `policy` are None for the latter. `signer` is a
    nickname, None where nothing is signed. `hint` is the remedy of an error status, or of CRLs that leave the serial
    uncovered; may be empty.
    """

    serial: bytes
    answer: str
    why: str
    hint: str = ""
    authority: Authority | None = None
    decision: Decision | None = None
    points: tuple[ExaminedPoint, ...] = ()
    policy: EffectivePolicy | None = None
    signer: str | None = None


def explain(
    state: ServingState,
    policy: ResponsePolicy,
    signers: Signers,
    *,
    authority_id: str,
    serial: bytes,
    at: int,
    key: str = "",
) -> Explanation:
    """Why `serial` (DER INTEGER content octets) of that authority is answered as it is at POSIX time `at`.

    `key` (certs.key_id) is that of the CA's key that the certificate was issued by; empty: the CA's newest one.
    """
    serving = state.by_id.get(authority_id)
    if serving is None:
        return _foreign(policy, signers.default, serial)
    revocations = SignerRevocations(signers.certificates, state.authorities)
    return explain_each(serving, policy, signers, revocations, serials=(serial,), at=at, key=key)[0]


def explain_each(
    serving: ServingAuthority,
    policy: ResponsePolicy,
    signers: Signers,
    revocations: SignerRevocations,
    *,
    serials: Iterable[bytes],
    at: int,
    key: str = "",
) -> list[Explanation]:
    """The same for serials of a CA that is at hand, for which one signer is chosen."""
    key = key or certs.key_id(serving.authority.certificate_der)
    verdicts = Verdicts(serving, policy, key)
    decided = decide_each(serving, verdicts, signers, revocations, serials=serials, at=at, key=key)
    return [
        replace(
            one,
            points=_examined(serving, one.serial, one.decision.points if one.decision else (), at),
            policy=_effective(serving, policy),
        )
        for one in decided
    ]


def silenced(explanation: Explanation, why: str) -> Explanation:
    """The same where the CA is answered tryLater, whatever its CRLs say."""
    return replace(explanation, answer=TRY_LATER, why=why, decision=None, signer=None)


def decide_each(
    serving: ServingAuthority,
    verdicts: Verdicts,
    signers: Signers,
    revocations: SignerRevocations,
    *,
    serials: Iterable[bytes],
    at: int,
    key: str,
) -> list[Explanation]:
    """The same without points and policy, by the `verdicts` on that key of the CA: a quarter of the work."""
    signer: str | TryLater
    try:
        signer = signers.choose(serving.authority, at, key, revocations)
    except TryLater as error:
        signer = error
    return [_decided(serving, verdicts, signer, serial, at) for serial in serials]


def _decided(
    serving: ServingAuthority, verdicts: Verdicts, signer: str | TryLater, serial: bytes, at: int
) -> Explanation:
    """`signer` is its nickname, or why nothing is signed."""
    decision: Decision | None = None
    try:
        if isinstance(signer, TryLater):
            raise signer
        decision = verdicts.of(serial, at)
        answer, why, hint = decision.status.value, decision.why, _uncovered(serving, decision)
    except TryLater as error:
        answer, why, hint = TRY_LATER, str(error), error.hint
    return Explanation(
        serial=serial,
        answer=answer,
        why=why,
        hint=hint,
        authority=serving.authority,
        decision=decision,
        signer=signer if isinstance(signer, str) and decision else None,
    )


def _uncovered(serving: ServingAuthority, decision: Decision) -> str:
    """What mends an `unknown` that comes of CRLs that do not cover the serial; else empty."""
    if decision.status is not CertStatus.UNKNOWN:
        return ""
    return cover_notice(serving.authority, (point.epoch for point in serving.points))[1]


def _foreign(policy: ResponsePolicy, default_signer: str, serial: bytes) -> Explanation:
    why, hint = "this instance does not answer for the issuer", "vouchd authority add CA.pem"
    if policy.unknown_issuer is UnknownIssuerPolicy.UNKNOWN:
        return Explanation(serial, CertStatus.UNKNOWN.value, why, hint, signer=default_signer)
    return Explanation(serial, UNAUTHORIZED, why, hint)


def _examined(
    serving: ServingAuthority, serial: bytes, relied_upon: tuple[ServingPoint, ...], at: int
) -> tuple[ExaminedPoint, ...]:
    return tuple(
        ExaminedPoint(point, point.index.find(serial), point in relied_upon, bool(expired((point,), at)))
        for point in serving.points
    )


def _effective(serving: ServingAuthority, policy: ResponsePolicy) -> EffectivePolicy:
    own = serving.authority.policy
    return EffectivePolicy(
        not_found_as_good=policy.not_found_as_good_for(own),
        include_next_update=policy.include_next_update_for(own),
        reasons=policy.reasons_for(own),
        expired_crl=policy.expired_crl_for(own).value,
        extended_revoke=own.extended_revoke,
        issued_serials_known=serving.issued is not None,
        expected_scopes=own.expected_scopes,
        by_name=policy.by_name,
    )

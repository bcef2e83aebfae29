"""The canary: for every CA an answer is asked for and verified as a client does it, and is what the CRL says.

Asked are a serial that nobody has, and one that the CRL lists. The answer is made here, with the instance's own keys
and from the facts in its store; where the instance runs, its workers are asked over HTTP as well.

What it has to prove of each CA: its signer signs for it what its clients accept, its CRL is found by both hashes of its
CertIDs, and the index says of a serial what the CRL says. One answer that speaks of both serials proves all of it, and
takes half of what two take; with many CAs a start is little else. They are asked one by one where the policy takes one
CertID in a request, and where one of them is answered tryLater, or both at different moments.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

from vouchd.client import inquiry
from vouchd.client.parsing import parse_response
from vouchd.client.response_acceptance import NonceRule, Terms, Verified, verify_response
from vouchd.client.transport import Connection
from vouchd.core.policy import NoncePolicy, RequestSignaturePolicy, ResponsePolicy
from vouchd.core.ports import Signer
from vouchd.core.status import ServingAuthority, ServingState, speaking
from vouchd.errors import ClientError, IndexFileError, PartFails, SigningError, TryLater, VerificationError
from vouchd.pkix.certs import (
    DIGEST_FUNCTIONS,
    check_signer_of,
    key_id,
    load_certificate,
    not_after,
    not_before,
    signing_end_of,
)
from vouchd.service.answering import Responder
from vouchd.service.explaining import Explanation, Signers, decide_each

_TIMEOUT_SECONDS = 5.0
_DIGESTS = ("SHA-256", "SHA-1", *DIGEST_FUNCTIONS)


@dataclass(frozen=True)
class Canary:
    """What is answered with: `url` is the running instance's, empty when it does not run or does not answer now.

    What is the same for all CAs of `state` is worked out with the first check, by the process that makes it.
    """

    state: ServingState
    signers: Mapping[str, Signer]
    default_signer: str
    policy: ResponsePolicy
    url: str = ""
    proven: set[str] = field(default_factory=set)
    """Nicknames of the signers by which an answer was made here that has been verified."""

    @cached_property
    def _known(self) -> Signers:
        return Signers(self._responder.certificates, self.default_signer)

    @cached_property
    def _responder(self) -> Responder:
        # Nobody can expect the self test to have a requestor's key: what is signed is what is looked at.
        policy = replace(self.policy, signature=RequestSignaturePolicy.IGNORE)
        return Responder(self.state, self.signers, self.default_signer, policy)

    def prepare(self) -> None:
        """Work out now what is the same for all CAs, for all processes that checks will be shared among."""
        _ = self._known, self._responder

    def sing(self, at: int) -> Callable[[ServingAuthority], str]:
        """A check of one CA at POSIX time `at`; it returns what it found and raises SigningError."""

        def ours(request_der: bytes) -> bytes:
            return self._responder.answer(request_der, at).response_der

        def check(serving: ServingAuthority) -> str:
            if not serving.points:
                return "no CRL yet"
            self._require_fit(serving, at)
            issuer_der = self._issuer(serving, at)
            words = self._ask(serving, issuer_der, at, ours)
            if self.url and self.policy.signature is not RequestSignaturePolicy.REQUIRE:
                words.append(self._ask_workers(serving, issuer_der, at))
            if key_id(issuer_der) != key_id(serving.authority.certificate_der):
                words.append("asked by a former key, as no signer is certified by the newest one")
            return ", ".join(words)

        return check

    def _issuer(self, serving: ServingAuthority, at: int) -> bytes:
        """The newest certificate (DER) of the CA by whose key its signer is certified: clients take its answers there.

        After the CA has changed its key that is the former one, until it has certified a signer by the new one.
        """
        authority = serving.authority
        if len(authority.certificates) > 1 and not authority.policy.trusted_responder:
            with suppress(TryLater):
                for one in authority.certificates:
                    signer = self._known.certificates[
                        self._known.choose(authority, at, key_id(one), self._responder.revocations)
                    ]
                    if signing_end_of(signer, (one,)) is not None:
                        return one
        return authority.certificate_der

    def _ask(
        self, serving: ServingAuthority, issuer_der: bytes, at: int, answer: Callable[[bytes], bytes]
    ) -> list[str]:
        """What was found of each serial."""
        try:
            expected = self._expected(serving, issuer_der, _serials(serving, issuer_der), at)
        except IndexFileError as error:
            raise PartFails(f"answered tryLater: {error}", hint=error.hint) from error
        moments: dict[int, list[Explanation]] = {}
        for one in expected:
            if one.decision is not None:
                moments.setdefault(_moment(one, at), []).append(one)
        for moment, together in moments.items():
            step = self.policy.max_cert_ids
            for begin in range(0, len(together), step):
                self._compare(serving, issuer_der, together[begin : begin + step], moment, answer)
        return [str(one.answer) if one.decision else f"{one.answer} ({one.why})" for one in expected]

    def _compare(
        self,
        serving: ServingAuthority,
        issuer_der: bytes,
        expected: Sequence[Explanation],
        at: int,
        answer: Callable[[bytes], bytes],
    ) -> None:
        """One question and its answer."""
        try:
            verified = self._verified(serving, issuer_der, [one.serial for one in expected], at, answer)
        except (ClientError, VerificationError) as error:
            raise SigningError(f"an answer that clients refuse: {error}", hint=error.hint) from error
        for one, single in zip(expected, verified.singles, strict=True):
            if single.status != one.answer:
                words = f"serial {one.serial.hex()} is answered {single.status} where the CRL says {one.answer}"
                raise SigningError(words)
        signer = expected[0].signer
        if signer is not None and load_certificate(self.signers[signer].certificate_der) == verified.signer:
            self.proven.add(signer)

    def _require_fit(self, serving: ServingAuthority, at: int) -> None:
        """Raises: PartFails when the signer is one whose answers clients refuse: none are given."""
        signer = self.signers.get(serving.authority.policy.signer or self.default_signer)
        if signer is None:
            return  # told of as such
        certificates, trusted = serving.authority.certificates, serving.authority.policy.trusted_responder
        certificate = load_certificate(signer.certificate_der)
        moment = min(at, not_after(certificate))
        end = signing_end_of(signer.certificate_der, certificates, trusted=trusted)
        if end is not None and not_before(certificate) <= moment <= end:
            return
        try:
            check_signer_of(certificate, certificates, moment, trusted=trusted)
        except SigningError as error:
            raise PartFails(f"answered tryLater, clients refuse its signer: {error}", hint=error.hint) from error

    def _ask_workers(self, serving: ServingAuthority, issuer_der: bytes, at: int) -> str:
        """The same over HTTP. No answer, as under load, is no failure; one that does not verify is."""
        serial = _serials(serving, issuer_der)[0]
        (expected,) = self._expected(serving, issuer_der, (serial,), at)
        if expected.decision is None:
            return "workers not asked"
        try:
            with Connection(self.url, timeout_seconds=_TIMEOUT_SECONDS) as connection:
                moment = _moment(expected, at)
                self._verified(serving, issuer_der, [serial], moment, lambda request: connection.exchange(request).body)
        except VerificationError as error:
            raise SigningError(f"the workers' answer is one that clients refuse: {error}", hint=error.hint) from error
        except ClientError as error:
            return f"workers: {error}"
        return "workers too"

    def _verified(
        self,
        serving: ServingAuthority,
        issuer_der: bytes,
        serials: list[bytes],
        at: int,
        answer: Callable[[bytes], bytes],
    ) -> Verified:
        """Raises: ClientError, VerificationError."""
        nonce = inquiry.new_nonce() if self.policy.nonce in {NoncePolicy.ECHO, NoncePolicy.REQUIRE} else None
        question = inquiry.question(issuer_der, serials, digest=_digest(self.policy), nonce=nonce)
        if question.issuer is None:  # pragma: no cover  `question` always names it
            raise AssertionError("no issuer")
        response = parse_response(answer(question.request_der))
        policy = serving.authority.policy
        signer = self.signers.get(policy.signer or self.default_signer) if policy.trusted_responder else None
        terms = Terms(nonce=NonceRule.REQUIRE, trusted_signers=(signer.certificate_der,) if signer else ())
        return verify_response(response, question.issuer, question.cert_ids, nonce=nonce, at=at, terms=terms)

    def _expected(
        self, serving: ServingAuthority, issuer_der: bytes, serials: Sequence[bytes], at: int
    ) -> list[Explanation]:
        revocations, key = self._responder.revocations, key_id(issuer_der)
        verdicts = self._responder.verdicts(serving.authority.id, key)
        return decide_each(serving, verdicts, self._known, revocations, serials=serials, at=at, key=key)


def _serials(serving: ServingAuthority, issuer_der: bytes) -> tuple[bytes, ...]:
    """A serial that nobody has, and one of that key's that is revoked where there is one."""
    nobody = b"\x40" + secrets.token_bytes(15)
    for point in speaking(serving, key_id(issuer_der)):
        if len(point.index) and not point.scope.only_attribute:
            return nobody, point.index.at(0).serial
    return (nobody,)


def _moment(expected: Explanation, at: int) -> int:
    """When a client would look; a clock that is behind, or a stale CRL that is served by policy, is another matter."""
    decision = expected.decision
    if decision is None:
        return at
    moment = max(at, decision.this_update)
    return moment if decision.next_update is None else min(moment, decision.next_update)


def _digest(policy: ResponsePolicy) -> str:
    """A CertID digest that the instance takes. Raises: ClientError."""
    for digest in _DIGESTS:
        if digest not in policy.reject_algorithms:
            return digest
    raise ClientError("every CertID digest is refused", hint="shorten ocsp.rejectAlgorithms")

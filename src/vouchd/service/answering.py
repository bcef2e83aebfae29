"""THE place where an OCSP response is built: guard -> prepared answer -> sign.

A request is parsed and decided once per epoch; what it gets is kept as prepared DER, keyed by the bytes of the request
up to its nonce. After that an answer with a nonce costs one dictionary look-up, one signature and a few joins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vouchd.core.facts import AuthorityPolicy, CertStatus
from vouchd.core.policy import NoncePolicy, RequestSignaturePolicy, ResponsePolicy, UnknownIssuerPolicy
from vouchd.core.ports import Signer
from vouchd.core.requestor import verify_requestor
from vouchd.core.response import (
    ERROR_RESPONSES,
    EXTENDED_REVOKE,
    response_data,
    single_response,
    tbs_head,
    unknown_response,
)
from vouchd.core.status import Decision, ServingAuthority, ServingState, decide
from vouchd.errors import (
    IndexFileError,
    MalformedRequest,
    OCSPResponseStatus,
    RequestError,
    SignatureRequired,
    TryLater,
    Unauthorized,
    outcome,
)
from vouchd.pkix import certs
from vouchd.pkix.ocsp import CertID, OCSPRequest, parse_request
from vouchd.service.assembling import Prepared, Signing, choose_algorithm, prepare_signing, split_nonce

PREPARED_LIMIT = 50_000

_DEFAULT_POLICY = AuthorityPolicy()


class Answer(NamedTuple):
    """One OCSPResponse in DER and what the HTTP layer and the metrics need of it.

    `cause` is a stable word for an error, empty for a successful answer. Times are POSIX seconds; `next_update` is the
    moment after which the answer must not be given any more, None when the CRL has no nextUpdate. `cacheable` says
    that the same request gets the same bytes until then, or until the state is replaced. `authority_id` is that of the
    CA that the answer speaks of, empty when it is none of ours or there are several.
    """

    response_der: bytes
    status: OCSPResponseStatus
    cause: str = ""
    cert_statuses: tuple[CertStatus, ...] = ()
    produced_at: int = 0
    this_update: int = 0
    next_update: int | None = None
    cacheable: bool = False
    authority_id: str = ""


class Responder:
    """Answers OCSP requests from a ServingState that can be replaced at any moment.

    `signers` by nickname; the default signer answers for every CA whose policy names none. Not thread-safe for
    `replace`: one event loop owns a responder.
    """

    def __init__(
        self, state: ServingState, signers: Mapping[str, Signer], default_signer: str, policy: ResponsePolicy
    ) -> None:
        self._policy = policy
        self._signers = signers
        self._default_signer = default_signer
        self._halted = False
        self.replace(state)

    def halt(self, halted: bool) -> None:  # noqa: FBT001  a state, not an option
        """Answer tryLater to everything from now on, or answer again: the verdict of the self tests."""
        self._halted = halted

    def replace(self, state: ServingState) -> None:
        """Answer from `state` from now on; everything prepared from the former one is dropped."""
        self._prepared: dict[bytes, Prepared] = {}
        self._state = state
        own_keys = frozenset(serving.authority.id for serving in state.authorities)
        self._signings = {
            name: prepare_signing(signer, self._policy, own_keys) for name, signer in self._signers.items()
        }
        self._default = self._signings[self._default_signer]
        self._issuers: dict[tuple[str, bytes], ServingAuthority] = {}
        for serving in state.authorities:
            certificate = certs.load_certificate(serving.authority.certificate_der)
            for digest in certs.DIGEST_FUNCTIONS:
                if digest not in self._policy.reject_algorithms:
                    self._issuers[digest, b"".join(certs.issuer_hashes(certificate, digest))] = serving

    @property
    def state(self) -> ServingState:
        """What is answered from."""
        return self._state

    def ca_label(self, cert_id: CertID) -> str:
        """The label of the CA of a CertID; of one that is not ours the hashes of its name and key (hex)."""
        serving = self._issuers.get((cert_id.digest or "", cert_id.issuer))
        return serving.authority.label if serving else cert_id.issuer.hex()

    def answer(self, request_der: bytes, at: int) -> Answer:
        """The answer to a request at POSIX time `at`; bad input gets an OCSP error status, never an exception.

        Raises: SigningError when the key cannot be used.
        """
        try:
            if self._halted:
                raise TryLater("a self test failed", cause="self_test")
            key, nonce_der = split_nonce(request_der)
            prepared = self._prepared.get(key) if nonce_der else None
            if prepared is None or not prepared.is_fresh(at):
                prepared, nonce_der = self._prepare(request_der, at)
            return _answer(prepared, nonce_der)
        except RequestError as error:
            return error_answer(error)
        except IndexFileError as error:
            return error_answer(TryLater(str(error), cause="index"))

    def _prepare(self, request_der: bytes, at: int) -> tuple[Prepared, bytes]:
        """Parse, guard and decide; returns the Extension to echo, too (empty: none)."""
        if len(request_der) > self._policy.max_request_bytes:
            raise MalformedRequest(f"a request of more than {self._policy.max_request_bytes} bytes")
        request = parse_request(request_der, max_cert_ids=self._policy.max_cert_ids)
        self._guard(request, at)
        nonce_der = request.nonce_der if self._policy.nonce is not NoncePolicy.IGNORE else b""
        prepared = self._decide(request, len(nonce_der), at)
        key, last_nonce = split_nonce(request_der)
        # Only what `answer` finds again is kept: the nonce comes last and is echoed as it stands in the request.
        if last_nonce and last_nonce == nonce_der and request.signature is None:
            if len(self._prepared) >= PREPARED_LIMIT:
                self._prepared.clear()
            self._prepared[key] = prepared
        return prepared, nonce_der

    def _guard(self, request: OCSPRequest, at: int) -> None:
        if request.nonce is not None and self._policy.nonce is NoncePolicy.FORBID:
            raise Unauthorized("requests with a nonce are not answered here")
        if request.nonce is None and self._policy.nonce is NoncePolicy.REQUIRE:
            raise MalformedRequest("requests without a nonce are not answered here")
        if self._policy.signature is RequestSignaturePolicy.IGNORE:
            return
        if request.signature is not None:
            verify_requestor(request, self._policy.requestor_trust, at)
        elif self._policy.signature is RequestSignaturePolicy.REQUIRE:
            raise SignatureRequired("only signed requests are answered here")

    def _decide(self, request: OCSPRequest, nonce_size: int, at: int) -> Prepared:
        """Decide every CertID and prepare one response for all of them, in their order."""
        found = [(cert_id, self._issuer(cert_id)) for cert_id in request.cert_ids]
        signing = self._signing_for([serving for _, serving in found])
        if at > signing.not_after:
            raise TryLater("the signing certificate has expired", cause="expired_signer")
        decisions = [
            (cert_id, serving, decide(serving, cert_id.serial, self._policy, at) if serving else None)
            for cert_id, serving in found
        ]
        known = [decision for _, _, decision in decisions if decision is not None]
        fallback = self._newest_acceptance(signing)
        algorithm = choose_algorithm(signing.signer, request.preferred)
        # producedAt is a replicated fact, not this host's clock, so clones agree; never before the signer was valid.
        produced_at = max([d.produced_at for d in known] + [signing.not_before if known else fallback])
        responses = [_single(cert_id, serving, decision, fallback) for cert_id, serving, decision in decisions]
        data = response_data(signing.responder_id, produced_at, responses)
        extensions = EXTENDED_REVOKE if any(d.non_issued for d in known) else b""
        return Prepared(
            signing=signing,
            algorithm=algorithm,
            tbs_head=tbs_head(data, extensions, nonce_size),
            cert_statuses=tuple(d.status if d else CertStatus.UNKNOWN for _, _, d in decisions),
            produced_at=produced_at,
            this_update=min([d.this_update for d in known], default=fallback),
            fresh_until=min([d.fresh_until for d in known if d.fresh_until is not None], default=None),
            cacheable=len(known) == len(decisions) and request.nonce is None,
            authority_id=_only({serving.authority.id if serving else "" for _, serving in found}),
        )

    def _issuer(self, cert_id: CertID) -> ServingAuthority | None:
        """The CA of a CertID, matched by name hash and key hash; None when the policy has `unknown` said of it.

        Raises: Unauthorized.
        """
        serving = self._issuers.get((cert_id.digest or "", cert_id.issuer))
        if serving is None and self._policy.unknown_issuer is UnknownIssuerPolicy.UNAUTHORIZED:
            raise Unauthorized("not a CA that this responder answers for")
        return serving

    def _signing_for(self, servings: list[ServingAuthority | None]) -> Signing:
        """The one signer that may answer for all these CAs. Raises: Unauthorized when there is none."""
        nicknames = {serving.authority.policy.signer for serving in servings if serving is not None}
        signings = [self._signings.get(name) if name else self._default for name in nicknames]
        if None in signings:
            raise TryLater("the signer of this CA is not on this instance", cause="no_signer")
        if any(signing is not signings[0] for signing in signings):
            raise Unauthorized("the CertIDs are of CAs that different signers answer for")
        return (signings and signings[0]) or self._default

    def _newest_acceptance(self, signing: Signing) -> int:
        """What thisUpdate and producedAt are when no CA of ours is concerned."""
        accepted = [point.epoch.accepted_at for serving in self._state.authorities for point in serving.points]
        return max([signing.not_before, *accepted])


def error_answer(error: RequestError) -> Answer:
    """The unsigned answer that tells an OCSP error status."""
    status = outcome(error).ocsp_status
    return Answer(ERROR_RESPONSES[status], status, error.cause)


def _single(cert_id: CertID, serving: ServingAuthority | None, decision: Decision | None, fallback: int) -> bytes:
    if decision is None:
        return unknown_response(cert_id.der, fallback)
    return single_response(cert_id.der, decision, serving.authority.policy if serving else _DEFAULT_POLICY)


def _answer(prepared: Prepared, nonce_der: bytes) -> Answer:
    return Answer(
        response_der=prepared.signed(nonce_der),
        status=OCSPResponseStatus.SUCCESSFUL,
        cert_statuses=prepared.cert_statuses,
        produced_at=prepared.produced_at,
        this_update=prepared.this_update,
        next_update=prepared.fresh_until,
        cacheable=prepared.cacheable,
        authority_id=prepared.authority_id,
    )


def _only(ids: set[str]) -> str:
    return ids.pop() if len(ids) == 1 else ""

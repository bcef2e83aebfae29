"""THE place where an OCSP response is built: guard -> prepared answer -> sign.

A request is parsed and decided once per epoch; what it gets is kept as prepared DER, keyed by the bytes of the request
up to its nonce. After that an answer with a nonce costs one dictionary look-up, one signature and a few joins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vouchd.core.facts import CertStatus
from vouchd.core.key_history import pairs
from vouchd.core.policy import NoncePolicy, RequestSignaturePolicy, ResponsePolicy, UnknownIssuerPolicy
from vouchd.core.ports import Signer
from vouchd.core.requestor import verify_requestor
from vouchd.core.response import (
    ERROR_RESPONSES,
    EXTENDED_REVOKE,
    response_data,
    single_response,
)
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.core.times import Moment
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
from vouchd.service.assembling import Prepared, choose_algorithm, prepare_signing, split_nonce
from vouchd.service.signer_choice import Issuer, SignerChoice
from vouchd.service.statements import Statement, Statements, foreign_statement

# What is prepared is kept up to so many bytes; of a longer request, or an unusual one, nothing is.
PREPARED_BYTES = 64 << 20
MAX_PREPARED_REQUEST_BYTES = 1024
_OBJECT_BYTES = 1000  # what one takes beside its bytes

# Digest and issuer hashes of CertIDs, with the key that they are over.
IssuerHashes = tuple[tuple[tuple[str, bytes], str], ...]


class Answer(NamedTuple):
    """One OCSPResponse in DER and what the HTTP layer and the metrics need of it.

    `cause` is a stable word for an error, empty for a successful answer. Times are POSIX seconds; `next_update` is the
    moment that caches are told to end at, None when the CRL has no nextUpdate, and `fresh_until` the last second in
    which it may be given, by us too: its signer's life ends all. `cacheable` says that the same request gets the same
    bytes until then, or until the state is replaced. `unusual` says that its
    request will hardly come again. `authority_id` is that of the CA that the answer speaks of, empty
    when it is none of ours or there are several.
    """

    response_der: bytes
    status: OCSPResponseStatus
    cause: str = ""
    cert_statuses: tuple[CertStatus, ...] = ()
    produced_at: int = 0
    this_update: int = 0
    next_update: int | None = None
    fresh_until: int | None = None
    cacheable: bool = False
    authority_id: str = ""
    unusual: bool = False


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
        self._withheld: frozenset[str] = frozenset()
        self._hashes: dict[tuple[bytes, ...], IssuerHashes] = {}  # by the CA's certificates: state after state has them
        self.replace(state)

    def halt(self, halted: bool) -> None:  # noqa: FBT001  a state, not an option
        """Answer tryLater to everything from now on, or answer again: the verdict of the self tests."""
        self._halted = halted

    def withhold(self, authority_ids: frozenset[str]) -> None:
        """Answer tryLater for these CAs from now on, and for all others as they are: something newer is known."""
        if authority_ids != self._withheld:
            self._withheld = authority_ids
            self._forget()

    def sign_with(self, signers: Mapping[str, Signer], default_signer: str) -> None:
        """Sign with these from now on; what was prepared with others is dropped."""
        self._signers, self._default_signer = signers, default_signer
        self.replace(self._state)

    def replace(self, state: ServingState) -> None:
        """Answer from `state` from now on; everything prepared from the former one is dropped."""
        self._forget()
        self._state = state
        accepted = (point.epoch.accepted_at for serving in state.authorities for point in serving.points)
        self._newest_acceptance = max(accepted, default=0)  # thisUpdate and producedAt where no CA of ours is concerned
        own = {certs.name_and_key(one) for serving in state.authorities for one in serving.authority.certificates}
        signings = {name: prepare_signing(signer, self._policy, own) for name, signer in self._signers.items()}
        self._choice = SignerChoice(signings, self._default_signer)
        self._statements: dict[tuple[str, str], Statements] = {}  # by id and key of the CA
        known, self._hashes = self._hashes, {}
        self._issuers: dict[tuple[str, bytes], Issuer] = {}
        for serving in state.authorities:
            certificates = serving.authority.certificates
            hashes = known.get(certificates) or self._issuer_hashes(serving)
            self._hashes[certificates] = hashes
            self._issuers.update((issuer, Issuer(serving, key)) for issuer, key in hashes)

    def _issuer_hashes(self, serving: ServingAuthority) -> IssuerHashes:
        digests = [digest for digest in certs.DIGEST_FUNCTIONS if digest not in self._policy.reject_algorithms]
        return tuple(
            ((digest, certs.issuer_hash(name, key, digest)), certs.key_id_of(key))
            for name, key in pairs(serving.authority)
            for digest in digests
        )

    @property
    def state(self) -> ServingState:
        """What is answered from."""
        return self._state

    def ca_label(self, cert_id: CertID) -> str:
        """The label of the CA of a CertID; of one that is not ours the hashes of its name and key (hex)."""
        issuer = self._issuers.get((cert_id.digest or "", cert_id.issuer))
        return issuer.serving.authority.label if issuer else cert_id.issuer.hex()

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
            return _answer(prepared, nonce_der, at)
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
        findable = last_nonce and last_nonce == nonce_der
        if findable and not request.unusual and len(key) <= MAX_PREPARED_REQUEST_BYTES:
            size = len(key) + len(prepared.tbs_head) + len(prepared.tbs_rest) + _OBJECT_BYTES
            if self._prepared_bytes + size > PREPARED_BYTES:
                self._forget()
            if key not in self._prepared:
                self._prepared_bytes += size
            self._prepared[key] = prepared
        return prepared, nonce_der

    def _forget(self) -> None:
        self._prepared: dict[bytes, Prepared] = {}
        self._prepared_bytes = 0

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
        issuers = [self._issuer(cert_id) for cert_id in request.cert_ids]
        ids = {issuer.serving.authority.id if issuer else "" for issuer in issuers}
        if not self._withheld.isdisjoint(ids):
            raise TryLater("a newer CRL of this CA is known and not answered from yet", cause="behind")
        signing = self._choice.signing(issuers, at)
        moment = Moment(at, signing.not_after, is_now=bool(nonce_size))
        statements = [
            self._statement(cert_id.serial, issuer, moment, signing.not_before)
            for cert_id, issuer in zip(request.cert_ids, issuers, strict=True)
        ]
        singles = [
            single_response(cert_id.der, statement.der)
            for cert_id, statement in zip(request.cert_ids, statements, strict=True)
        ]
        extensions = EXTENDED_REVOKE if any(statement.non_issued for statement in statements) else b""
        head, rest = response_data(signing.responder_id, singles, extensions, nonce_size)
        times = [statement.times for statement in statements]
        fresh_until = [each.fresh_until for each in times if each.fresh_until is not None]
        ends_at = [each.ends_at for each in times if each.ends_at is not None]
        return Prepared(
            signing=signing,
            algorithm=choose_algorithm(signing.signer, request.preferred),
            tbs_head=head,
            tbs_rest=rest,
            cert_statuses=tuple([statement.status for statement in statements]),
            # Never before the signer was valid; no clock of this host's, so that clones agree.
            produced_at=None if nonce_size else max([signing.not_before, *[each.produced_at for each in times]]),
            this_update=min([each.this_update for each in times]),
            fresh_until=min([signing.not_after, *fresh_until]),
            ends_at=min([signing.not_after, *ends_at]) if ends_at else None,
            cacheable=None not in issuers and request.nonce is None,
            authority_id=ids.pop() if len(ids) == 1 else "",
            unusual=request.unusual,
        )

    def _statement(self, serial: bytes, issuer: Issuer | None, moment: Moment, not_before: int) -> Statement:
        """What is said of one serial; `not_before` is the start of the signer's life."""
        if issuer is None:
            return foreign_statement(min(max(not_before, self._newest_acceptance), moment.at))
        key = issuer.serving.authority.id, issuer.key
        statements = self._statements.get(key)
        if statements is None:
            statements = self._statements[key] = Statements(issuer.serving, issuer.key, self._policy)
        return statements.of(serial, moment)

    def _issuer(self, cert_id: CertID) -> Issuer | None:
        """The CA of a CertID, matched by name hash and key hash; None when the policy has `unknown` said of it.

        Raises: Unauthorized.
        """
        issuer = self._issuers.get((cert_id.digest or "", cert_id.issuer))
        if issuer is None and self._policy.unknown_issuer is UnknownIssuerPolicy.UNAUTHORIZED:
            raise Unauthorized("not a CA that this responder answers for")
        return issuer


def error_answer(error: RequestError) -> Answer:
    """The unsigned answer that tells an OCSP error status."""
    status = outcome(error).ocsp_status
    return Answer(ERROR_RESPONSES[status], status, error.cause)


def _answer(prepared: Prepared, nonce_der: bytes, at: int) -> Answer:
    produced_at = at if prepared.produced_at is None else prepared.produced_at
    # By position, in the order of the fields: this is the hot path.
    return Answer(
        prepared.signed(produced_at, nonce_der),
        OCSPResponseStatus.SUCCESSFUL,
        "",
        prepared.cert_statuses,
        produced_at,
        prepared.this_update,
        prepared.ends_at,
        prepared.fresh_until,
        prepared.cacheable,
        prepared.authority_id,
        prepared.unusual,
    )
